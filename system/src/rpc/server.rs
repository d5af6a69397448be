//! The answering side: accepts connections and handles their requests side by side, within limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::ReadHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::frame::{MAX_CONTENT_BYTES, codec};
use super::writer::write_frames;
use super::{Frame, SILENCE_MAX, Service};
use crate::accept::accept_until;
use crate::audit::{Claimed, Code};
use crate::call::CallError;
use crate::capability::{BoxStream, Channel, Expiry, Listener};
use crate::rights::Role;

/// Requests of one connection that are handled at once; beyond, the connection is not read.
const IN_FLIGHT_MAX: usize = 1024;

/// Connections at once: every other service holds one or two.
const CONNECTIONS_MAX: usize = 256;

/// No caller waits longer, whatever it says: a long poll and some more.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// At a stop, requests under way may take this long to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Accepts connections and answers requests until `stop` is cancelled; then lets those under way finish.
pub async fn serve<S: Service>(listener: Box<dyn Listener>, service: Arc<S>, stop: CancellationToken) {
    let stopping = stop.clone();
    let conversation = move |channel, peer| converse(channel, peer, service.clone(), stopping.clone());
    let mut connections = accept_until(&stop, &*listener, CONNECTIONS_MAX, conversation).await;
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end.
async fn converse<S: Service>(channel: Channel, peer: String, service: Arc<S>, stop: CancellationToken) {
    let Channel { stream, role, expiry } = channel;
    let caller = Caller { peer, role, expiry };
    let (reading, writing) = tokio::io::split(stream);
    let (replies, frames) = mpsc::channel(IN_FLIGHT_MAX);
    let mut writer = JoinSet::new();
    writer.spawn(write_frames(writing, None, frames));
    let mut requests = JoinSet::new();
    let why = read_frames(FramedRead::new(reading, codec()), &caller, &service, &replies, &mut requests, &stop).await;
    let peer = &caller.peer;
    tracing::debug!(service = S::NAME, peer, %why, "connection ended");
    if stop.is_cancelled() {
        let under_way = async { while requests.join_next().await.is_some() {} };
        if timeout(STOP_GRACE, under_way).await.is_err() {
            tracing::warn!(service = S::NAME, peer, "requests were cut at the stop");
        }
    }
    drop(requests);
    drop(replies);
    // A peer that reads no more must not hold the writer: silence is the limit here too.
    let _ = timeout(SILENCE_MAX, writer.join_next()).await;
}

/// What is known of a caller before it has said a word.
struct Caller {
    peer: String,
    /// The role it has proven to be, where the network asks for a proof.
    role: Option<Role>,
    expiry: Expiry,
}

impl Caller {
    /// What is wrong with a caller that says it is `claimed`, if anything.
    fn refusal(&self, claimed: Option<Role>) -> Option<String> {
        match (self.role, claimed) {
            (_, None) => Some("the caller is nobody this service knows".into()),
            (Some(proven), Some(claimed)) if proven != claimed => {
                Some(format!("the certificate is the {proven}'s, the greeting says {claimed}"))
            }
            _ => None,
        }
    }
}

async fn read_frames<S: Service>(
    mut stream: FramedRead<ReadHalf<BoxStream>, LengthDelimitedCodec>,
    caller: &Caller,
    service: &Arc<S>,
    replies: &mpsc::Sender<Frame>,
    requests: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> String {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut greeted = None;
    loop {
        let silence = sleep_until(Instant::now() + SILENCE_MAX);
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return "stopping".into(),
            () = caller.expiry.passed() => return "what proved who they are has expired".into(),
            read = stream.next() => read,
            () = silence => return format!("silent for {} ms", SILENCE_MAX.as_millis()),
        };
        while requests.try_join_next().is_some() {}
        let frame = match read {
            Some(Ok(bytes)) => Frame::decode(bytes.freeze()),
            Some(Err(error)) => return error.to_string(),
            None => return "the caller closed the connection".into(),
        };
        match frame {
            Ok(Frame::Hello { version, client, service: wanted }) => {
                let posing = caller.refusal(client);
                if let (Some(reason), Some(_)) = (&posing, caller.role) {
                    // It is refused, whether or not that can be recorded.
                    let _ = service.reporter().attempt(Code::NoRight, "hello", Claimed::default(), reason).await;
                }
                let refusal = Frame::refusal(version, &wanted, S::NAME).or(posing);
                if let Some(reason) = refusal {
                    tracing::warn!(service = S::NAME, peer = caller.peer, %reason, "refused a caller");
                    // If the writer is gone, so is who would read the reason.
                    let _ = replies.send(Frame::Refused(reason.clone())).await;
                    return reason;
                }
                greeted = client;
            }
            Ok(Frame::Heartbeat) => {}
            Ok(Frame::Request { id, deadline_ms, body }) if greeted.is_some() => {
                let client = greeted.expect("it has greeted");
                let permit = tokio::select! {
                    biased;
                    () = stop.cancelled() => return "stopping".into(),
                    permit = in_flight.clone().acquire_owned() => permit.expect("never closed"),
                };
                let deadline = Duration::from_millis(deadline_ms.into()).min(DEADLINE_MAX);
                let (service, replies) = (service.clone(), replies.clone());
                requests.spawn(async move {
                    let body = answer(&*service, client, body, deadline).await;
                    // A caller that closed its connection no longer wants its answer.
                    let _ = replies.send(Frame::Reply { id, body }).await;
                    drop(permit);
                });
            }
            Ok(other) => return format!("an unexpected frame: {other:?}"),
            Err(error) => return error.to_string(),
        }
    }
}

async fn answer<S: Service>(service: &S, client: Role, body: Bytes, deadline: Duration) -> Bytes {
    let reply = match postcard::from_bytes(&body) {
        Ok(request) if !S::may(client, &request) => {
            let why = format!("the {client} role has no right to ask this");
            let (entry, claimed) = S::claims(&request);
            let told = service.reporter().attempt(Code::NoRight, entry, claimed, &why).await;
            told.and_then(|()| Err(CallError::failed(format!("{}: {why}", S::NAME))))
        }
        Ok(request) => match timeout(deadline, service.handle(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(CallError::unknown(format!("{}: not done within the deadline", S::NAME))),
        },
        Err(error) => {
            let why = format!("unreadable request: {error}");
            let from = format!("{why}, from {client}");
            let told = service.reporter().attempt(Code::Malformed, "request", Claimed::default(), from).await;
            told.and_then(|()| Err(CallError::failed(format!("{}: {why}", S::NAME))))
        }
    };
    let encode = |reply: &Result<S::Reply, CallError>| postcard::to_stdvec(reply).expect("our own types become bytes");
    let body = encode(&reply);
    if body.len() <= MAX_CONTENT_BYTES {
        return body.into();
    }
    // One reply too many for a frame must not cost every caller the connection.
    encode(&Err(CallError::unknown(format!("{}: a reply of {} bytes fits no frame", S::NAME, body.len())))).into()
}
