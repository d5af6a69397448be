//! HTTP/1.1 over any network: with our own accept loop the same server runs over TCP and in a simulation.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::accept::accept_until;
use crate::capability::{Channel, Listener};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// Connections at once from one address; further ones are closed. A proxy before the API needs fewer.
const CONNECTIONS_PER_SOURCE_MAX: usize = 512;

/// What is written must be taken within this time: whoever asks and never reads would stay for ever.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A request's head must arrive within this time: an idle connection is cheap, a dripping one is not.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// At a stop, requests under way may take this long to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves `router` until `stop` is cancelled; then lets requests under way end.
pub async fn serve(listener: Box<dyn Listener>, router: Router, stop: CancellationToken) {
    serve_bounded(listener, router, CONNECTIONS_MAX, stop).await;
}

/// The same, over at most `max` connections at once.
pub(crate) async fn serve_bounded(listener: Box<dyn Listener>, router: Router, max: usize, stop: CancellationToken) {
    let (stopping, open) = (stop.clone(), Arc::new(Mutex::new(BTreeMap::new())));
    let conversation = move |channel, peer: String| {
        let (router, stopping, open) = (router.clone(), stopping.clone(), open.clone());
        async move {
            let source = Source::of(&peer);
            match Open::enter(open, &source) {
                Some(_open) => converse(channel, peer, source, router, stopping).await,
                None => {
                    tracing::warn!(peer, "closed a connection: {CONNECTIONS_PER_SOURCE_MAX} of its address are open")
                }
            }
        }
    };
    let mut connections = accept_until(&stop, &*listener, max, conversation).await;
    if timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut at the stop");
    }
}

/// The network address a request came from, without its port: what stays the same when a client connects anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(pub(super) Arc<str>);

/// Cancelled when what is answered on a connection should end: at a stop, and when the certificate of it expires. An answer
/// that would go on for ever ends by itself then, and need not be cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending(pub(super) CancellationToken);

impl Source {
    fn of(peer: &str) -> Self {
        // On a listener for both, a client of IPv4 has an address of IPv6: all of them the same /64.
        let address = match peer.parse::<SocketAddr>().map(|address| address.ip().to_canonical()) {
            // A host has a whole /64 to itself: any of its addresses is the same source.
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) => peer.to_owned(),
        };
        Self(address.into())
    }
}

/// One of the open connections of an address.
struct Open {
    all: Arc<Mutex<BTreeMap<Source, usize>>>,
    source: Source,
}

impl Open {
    /// `None`: the address has too many.
    fn enter(all: Arc<Mutex<BTreeMap<Source, usize>>>, source: &Source) -> Option<Self> {
        {
            let mut counts = all.lock().expect("no holder panics");
            let count = counts.entry(source.clone()).or_default();
            if *count >= CONNECTIONS_PER_SOURCE_MAX {
                return None;
            }
            *count += 1;
        }
        Some(Self { all, source: source.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.all.lock().expect("no holder panics");
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

async fn converse(channel: Channel, peer: String, source: Source, router: Router, stop: CancellationToken) {
    let routes = TowerToHyperService::new(router);
    let mut stream = TimeoutStream::new(channel.stream);
    stream.set_write_timeout(Some(WRITE_DEADLINE));
    let ending = Ending(stop.child_token());
    let told = ending.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source.clone());
        request.extensions_mut().insert(told.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        // A date is wall time: it would differ from run to run, and nobody needs it.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let (mut stopping, mut cut) = (false, None);
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // A browser keeps its connection as long as it may: longer than our certificate, if we let it.
            () = channel.expiry.passed(), if !stopping => {
                (stopping, cut) = (true, Some(Instant::now() + STOP_GRACE));
                ending.0.cancel();
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(cut.unwrap_or_else(Instant::now)), if cut.is_some() => return,
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::capability::Expiry;

    fn channel(stream: tokio::io::DuplexStream, expiry: Expiry) -> Channel {
        Channel { stream: Box::new(stream), role: None, expiry }
    }

    /// A conversation with someone who asks and never reads.
    async fn stuck(expiry: Expiry) -> Duration {
        let router = Router::new().route("/", get(|| async { "x".repeat(1000) }));
        let (mut client, server) = tokio::io::duplex(4096);
        let (begin, source) = (Instant::now(), Source::of("192.0.2.1:1"));
        let conversation = converse(channel(server, expiry), "-".into(), source, router, CancellationToken::new());
        let asking = async { while client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {} };
        tokio::join!(conversation, asking);
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_and_never_reads_is_cut_off_in_time_and_so_is_who_outlives_the_certificate() {
        assert_eq!(stuck(Expiry::NEVER).await, WRITE_DEADLINE);
        let left = Duration::from_secs(1);
        assert_eq!(stuck(Expiry::within(left)).await, left + STOP_GRACE);
    }

    #[test]
    fn an_address_has_so_many_connections_and_again_when_some_have_ended() {
        let all = Arc::default();
        let (one, other) = (Source::of("192.0.2.1:1"), Source::of("192.0.2.2:1"));
        let enter = |source: &Source| Open::enter(Arc::clone(&all), source);
        let mut held: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX).map(|_| enter(&one).unwrap()).collect();
        assert!(enter(&one).is_none() && enter(&other).is_some());
        held.pop();
        assert!(enter(&one).is_some());
        drop(held);
        assert!(all.lock().unwrap().is_empty());
    }

    #[test]
    fn a_client_of_ipv4_is_itself_on_a_listener_for_both() {
        assert_eq!(Source::of("[::ffff:192.0.2.1]:5"), Source::of("192.0.2.1:9"));
        assert_ne!(Source::of("[::ffff:192.0.2.1]:5"), Source::of("[::ffff:192.0.2.2]:5"));
        assert_eq!(Source::of("[2001:db8::1]:5"), Source::of("[2001:db8::2]:6"));
    }
}
