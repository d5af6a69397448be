//! The accept loop of every server: HTTP's and that of framed calls.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::capability::{Channel, Listener};

/// After a failed accept (out of file descriptors, say) the listener rests this long.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Accepts streams until `stop` is cancelled, each opened and conversed with in a task of its own, at most `max` at once:
/// further ones wait to be accepted. Returns the conversations that still go on.
pub(crate) async fn accept_until<F>(
    stop: &CancellationToken,
    listener: &dyn Listener,
    max: usize,
    converse: impl Fn(Channel, String) -> F + Clone + Send + 'static,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send,
{
    let mut conversations = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return conversations,
            Some(_) = conversations.join_next() => continue,
            accepted = listener.accept(), if conversations.len() < max => accepted,
        };
        match accepted {
            Ok(incoming) => {
                let (converse, stop) = (converse.clone(), stop.clone());
                conversations.spawn(async move {
                    let peer = incoming.peer.clone();
                    let opened = tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        opened = incoming.open() => opened,
                    };
                    match opened {
                        Ok(channel) => converse(channel, peer).await,
                        Err(error) => tracing::warn!(peer, %error, "refused a connection"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, at = listener.local_address(), "failed to accept a connection");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}
