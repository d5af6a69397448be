//! The calling side: one shared connection, opened by the first call that needs it and again after it broke.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::io::ReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::frame::{MAX_CONTENT_BYTES, codec};
use super::writer::write_frames;
use super::{CONNECT_MAX, Frame, SILENCE_MAX, Service};
use crate::call::CallError;
use crate::capability::{BoxStream, Channel, Expiry, Network};
use crate::monitor::{CallEnd, Monitor, Verdict};
use crate::rights::Role;

/// Calls that may wait to be written; further callers wait for room.
const OUTGOING_MAX: usize = 1024;

/// A connection that takes no more calls is looked at this often, to close it when those under way have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Calls one service at one address.
pub struct Client<S> {
    network: Arc<dyn Network>,
    address: String,
    /// Who we are.
    role: Role,
    /// Held while connecting, so that many callers share the connection that comes of it.
    connection: Arc<tokio::sync::Mutex<Option<Connection>>>,
    /// Connections that take no more calls, until those under way have ended.
    retired: Arc<Mutex<JoinSet<()>>>,
    monitor: Monitor,
    service: PhantomData<fn() -> S>,
}

/// Whoever has a clone shares the connection.
impl<S> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self {
            network: self.network.clone(),
            address: self.address.clone(),
            role: self.role,
            connection: self.connection.clone(),
            retired: self.retired.clone(),
            monitor: self.monitor.clone(),
            service: PhantomData,
        }
    }
}

type Answer = Result<Bytes, CallError>;

/// Calls that wait for an answer, by id. `None` once the connection has broken.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Answer>>>>>;

struct Connection {
    outgoing: mpsc::Sender<Frame>,
    waiting: Waiting,
    next_id: u64,
    expiry: Expiry,
    /// Whether the other side has said anything yet.
    heard: watch::Receiver<bool>,
    /// Reader and writer: they end with the connection.
    _tasks: JoinSet<()>,
}

impl<S: Service> Client<S> {
    /// A client of the service at `address`, in the part of `role`. Nothing is opened yet.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: impl Into<String>, role: Role) -> Self {
        let (address, connection, retired) = (address.into(), Arc::default(), Arc::default());
        Self { network, address, role, connection, retired, monitor: Monitor::default(), service: PhantomData }
    }

    /// Counts its calls in `monitor`, whose readiness needs the service from then on.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        monitor.health.needed(S::NAME, self.check());
        Self { monitor: monitor.clone(), ..self }
    }

    /// Counts its calls in `monitor`, which tells from then on whether the service is there.
    #[must_use]
    pub fn noted(self, monitor: &Monitor) -> Self {
        monitor.health.noted(S::NAME, self.check());
        Self { monitor: monitor.clone(), ..self }
    }

    /// Asks whether the service is there. Without the monitor, which keeps it.
    fn check(&self) -> impl Fn() -> BoxFuture<'static, Verdict> + Send + Sync + 'static {
        let client = Self { monitor: Monitor::default(), ..self.clone() };
        move || {
            let client = client.clone();
            async move { client.reach().await.map_err(|error| error.to_string()) }.boxed()
        }
    }

    /// Whether the service is there and talks to us: on the connection that calls share, opened if there is none. One that
    /// falls silent is given up within [`SILENCE_MAX`].
    async fn reach(&self) -> Result<(), CallError> {
        let mut heard = {
            let mut slot = self.connection.lock().await;
            match &*slot {
                Some(connection) if connection.works() => connection.heard.clone(),
                _ => slot.insert(self.connect().await?).heard.clone(),
            }
        };
        heard.wait_for(|heard| *heard).await.map(drop).map_err(|_| self.failed("the connection broke before a word"))
    }

    /// Sends `request` and waits up to `deadline` for its reply.
    pub async fn call(&self, request: &S::Request, deadline: Duration) -> Result<S::Reply, CallError> {
        let answer = self.ask(request, deadline).await;
        let end = match &answer {
            Ok(_) => CallEnd::Done,
            Err(CallError::Failed(_)) => CallEnd::Failed,
            Err(CallError::Unknown(_)) => CallEnd::Unknown,
        };
        self.monitor.metrics.rpc_calls.inc((S::ROLE, end));
        answer
    }

    async fn ask(&self, request: &S::Request, deadline: Duration) -> Result<S::Reply, CallError> {
        let body = postcard::to_stdvec(request).map_err(|error| self.failed(error))?;
        if body.len() > MAX_CONTENT_BYTES {
            return Err(self.failed(format!("a request of {} bytes fits no frame", body.len())));
        }
        let give_up = Instant::now() + deadline;
        let sent = timeout_at(give_up, self.send(body.into(), deadline));
        let answer = sent.await.map_err(|_| self.failed("it could not be sent within the deadline"))??;
        match timeout_at(give_up, answer.wait()).await {
            Ok(Ok(answer)) => {
                let reply: Result<S::Reply, CallError> = postcard::from_bytes(&answer?)
                    .map_err(|error| CallError::unknown(format!("{}: unreadable reply: {error}", S::NAME)))?;
                reply
            }
            Ok(Err(_)) => Err(CallError::unknown(format!("{}: the connection broke", S::NAME))),
            Err(_) => Err(CallError::unknown(format!("{}: no reply within {} ms", S::NAME, deadline.as_millis()))),
        }
    }

    /// The error of a caller that got the reply to another question.
    pub fn unexpected(&self, reply: &S::Reply) -> CallError
    where
        S::Reply: std::fmt::Debug,
    {
        CallError::unknown(format!("{} at {}: an unexpected reply: {reply:?}", S::NAME, self.address))
    }

    fn failed(&self, why: impl std::fmt::Display) -> CallError {
        CallError::failed(format!("{} at {}: {why}", S::NAME, self.address))
    }

    /// Puts a request on the connection, connecting first if there is none that works.
    async fn send(&self, body: Bytes, deadline: Duration) -> Result<Expected, CallError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.take_if(|connection| connection.works() && connection.expiry.retired()) {
            self.retire(connection);
        }
        let connection = match &mut *slot {
            Some(connection) if connection.works() => connection,
            broken => broken.insert(self.connect().await?),
        };
        let expected = connection.expect_answer().ok_or_else(|| self.failed("the connection broke"))?;
        let outgoing = connection.outgoing.clone();
        drop(slot);
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        // Once a frame is handed to the writer it may reach the other side: from here on an error is `Unknown`.
        let handed = outgoing.send(Frame::Request { id: expected.id, deadline_ms, body }).await;
        handed.map_err(|_| self.failed("the connection broke"))?;
        Ok(expected)
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let connecting = timeout(CONNECT_MAX, self.network.connect(&self.address, S::ROLE));
        let channel = connecting.await.map_err(|_| self.failed("no connection in time"))?;
        let channel = channel.map_err(|error| self.failed(error))?;
        Ok(Connection::start(channel, self.role, S::NAME))
    }

    /// Lets the calls under way on `connection` end: cut, their outcome would be unknown.
    fn retire(&self, connection: Connection) {
        let mut retired = self.retired.lock().expect("no holder panics");
        while retired.try_join_next().is_some() {}
        retired.spawn(async move {
            // At its expiry it ends, and then nobody waits.
            while connection.has_callers() {
                sleep(DRAIN_LOOK).await;
            }
        });
    }
}

impl Connection {
    fn start(channel: Channel, role: Role, service: &'static str) -> Self {
        let Channel { stream, expiry, .. } = channel;
        let (reading, writing) = tokio::io::split(stream);
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        let waiting: Waiting = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let (hearing, heard) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(writing, Some(Frame::hello(role, service)), frames));
        tasks.spawn(read_frames(FramedRead::new(reading, codec()), expiry, waiting.clone(), hearing, service));
        Self { outgoing, waiting, next_id: 0, expiry, heard, _tasks: tasks }
    }

    fn works(&self) -> bool {
        !self.outgoing.is_closed() && self.waiting.lock().expect("no holder panics").is_some()
    }

    fn has_callers(&self) -> bool {
        self.waiting.lock().expect("no holder panics").as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    fn expect_answer(&mut self) -> Option<Expected> {
        let (sender, answer) = oneshot::channel();
        self.next_id += 1;
        self.waiting.lock().expect("no holder panics").as_mut()?.insert(self.next_id, sender);
        Some(Expected { id: self.next_id, answer, waiting: self.waiting.clone() })
    }
}

/// An answer to come. Dropping it strikes it off: callers that gave up must not pile up in the list.
struct Expected {
    id: u64,
    answer: oneshot::Receiver<Answer>,
    waiting: Waiting,
}

impl Expected {
    async fn wait(mut self) -> Result<Answer, oneshot::error::RecvError> {
        (&mut self.answer).await
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.lock().expect("no holder panics").as_mut() {
            waiting.remove(&self.id);
        }
    }
}

/// Hands answers to who waits for them. Ends on silence, on a broken stream or on a refusal, and tells all who wait.
async fn read_frames(
    mut stream: FramedRead<ReadHalf<BoxStream>, LengthDelimitedCodec>,
    expiry: Expiry,
    waiting: Waiting,
    hearing: watch::Sender<bool>,
    service: &'static str,
) {
    let why = loop {
        let silence = sleep_until(Instant::now() + SILENCE_MAX);
        let read = tokio::select! {
            biased;
            () = expiry.passed() => break "what proved who they are has expired".into(),
            read = stream.next() => read,
            () = silence => break format!("silent for {} ms", SILENCE_MAX.as_millis()),
        };
        let frame = match read {
            Some(Ok(bytes)) => Frame::decode(bytes.freeze()),
            // What a TLS server says to a plain caller is no frame.
            Some(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                break format!("{error}; one side may speak TLS and the other not");
            }
            Some(Err(error)) => break error.to_string(),
            None => break "the other side closed the connection".into(),
        };
        if matches!(frame, Ok(Frame::Reply { .. } | Frame::Heartbeat)) && !*hearing.borrow() {
            hearing.send_replace(true);
        }
        match frame {
            Ok(Frame::Reply { id, body }) => {
                let mut waiting = waiting.lock().expect("no holder panics");
                let caller = waiting.as_mut().and_then(|waiting| waiting.remove(&id));
                // A caller past its deadline has gone; its answer is dropped.
                if let Some(caller) = caller {
                    let _ = caller.send(Ok(body));
                }
            }
            Ok(Frame::Heartbeat) => {}
            Ok(Frame::Refused(reason)) => break reason,
            Ok(other) => break format!("an unexpected frame: {other:?}"),
            Err(error) => break error.to_string(),
        }
    };
    tracing::debug!(service, %why, "connection ended");
    let waiting = waiting.lock().expect("no holder panics").take();
    for (_, caller) in waiting.into_iter().flatten() {
        let _ = caller.send(Err(CallError::unknown(format!("{service}: {why}"))));
    }
}
