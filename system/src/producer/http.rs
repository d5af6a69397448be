//! HTTP/1.1 over any network: with our own accept loop the same server runs over TCP and in a simulation.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::accept::accept_until;
use crate::capability::{Channel, Listener};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

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
    let stopping = stop.clone();
    let conversation = move |channel, peer| converse(channel, peer, router.clone(), stopping.clone());
    let mut connections = accept_until(&stop, &*listener, max, conversation).await;
    if timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut at the stop");
    }
}

/// The network address a request came from, without its port: what stays the same when a client connects anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source(pub(super) Arc<str>);

impl Source {
    fn of(peer: &str) -> Self {
        let address = match peer.parse::<SocketAddr>().map(|address| address.ip()) {
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

async fn converse(channel: Channel, peer: String, router: Router, stop: CancellationToken) {
    let (source, routes) = (Source::of(&peer), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        // A date is wall time: it would differ from run to run, and nobody needs it.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(channel.stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
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
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer, %error, "connection ended");
    }
}
