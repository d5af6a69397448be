//! Calls between services: framed, multiplexed, with deadline, heartbeat and reconnect.
//!
//! A frame is a length and its bytes; several calls share one connection. Every call has a deadline and three answers
//! (see [`crate::call`]). Both sides send heartbeats and give a silent connection up: a network that lost bytes once
//! wedges a stream for ever, and only silence tells. The next call connects anew.

mod client;
mod frame;
mod server;
mod writer;

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{Claimed, Reporter};
use crate::call::CallError;
use crate::rights::Role;

pub use client::Client;
pub use frame::{Frame, MAX_FRAME_BYTES};
pub use server::serve;

/// An idle side sends a heartbeat this often.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// A side that heard nothing for this long gives the connection up.
pub const SILENCE_MAX: Duration = Duration::from_millis(1000);

/// Connecting may take this long.
pub const CONNECT_MAX: Duration = Duration::from_millis(500);

/// One service's requests and replies, and what answers them.
pub trait Service: Send + Sync + 'static {
    /// Whose service it is: only that role may offer it.
    const ROLE: Role;
    /// The service's name in the greeting and in errors.
    const NAME: &'static str = Self::ROLE.name();
    /// What can be asked.
    type Request: Serialize + DeserializeOwned + Send + 'static;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Whether a client in the part of `client` may ask this.
    fn may(client: Role, request: &Self::Request) -> bool;

    /// Where the server reports what it refuses before anyone handles it.
    fn reporter(&self) -> Reporter {
        Reporter::none()
    }

    /// What a request is called in such a report, and what it claims.
    fn claims(_request: &Self::Request) -> (&'static str, Claimed) {
        ("request", Claimed::default())
    }

    /// Answers one request. Dropped when the caller's deadline has passed.
    fn handle(&self, request: Self::Request) -> impl Future<Output = Result<Self::Reply, CallError>> + Send;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, sleep};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::capability::{InMemory, Network};
    use crate::monitor::{CallEnd, Checked, Monitor};

    /// Answers a number of milliseconds after having waited for as long.
    struct Sleeper;

    impl Service for Sleeper {
        const ROLE: Role = Role::Broker;
        const NAME: &'static str = "sleeper";
        type Request = u64;
        type Reply = u64;

        fn may(_: Role, _: &u64) -> bool {
            true
        }

        async fn handle(&self, request: u64) -> Result<u64, CallError> {
            sleep(Duration::from_millis(request)).await;
            Ok(request)
        }
    }

    /// Another service behind the same address.
    struct Other;

    impl Service for Other {
        const ROLE: Role = Role::Ledger;
        const NAME: &'static str = "other";
        type Request = u64;
        type Reply = u64;

        fn may(_: Role, _: &u64) -> bool {
            true
        }

        async fn handle(&self, request: u64) -> Result<u64, CallError> {
            Ok(request)
        }
    }

    async fn start(network: &Arc<dyn Network>) -> CancellationToken {
        let stop = CancellationToken::new();
        let listener = network.bind("sleeper").await.unwrap();
        tokio::spawn(serve(listener, Arc::new(Sleeper), stop.clone()));
        stop
    }

    fn network() -> Arc<dyn Network> {
        Arc::new(InMemory::default())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn many_calls_share_a_connection_and_none_waits_for_a_slower_one() {
        let network = network();
        let _stop = start(&network).await;
        let client = Client::<Sleeper>::new(network, "sleeper", Role::Producer);
        let begin = Instant::now();
        let (slow, fast) = tokio::join!(client.call(&300, SECOND), async {
            let answer = client.call(&5, SECOND).await;
            (answer, begin.elapsed())
        });
        assert_eq!(slow, Ok(300));
        assert_eq!(fast.0, Ok(5));
        assert!(fast.1 < Duration::from_millis(20), "the fast call took {:?}", fast.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_never_sent_failed_and_one_that_had_no_answer_is_unknown() {
        let network = network();
        let client = Client::<Sleeper>::new(network.clone(), "sleeper", Role::Producer);
        assert!(matches!(client.call(&1, SECOND).await, Err(CallError::Failed(_))), "nobody listens");
        let _stop = start(&network).await;
        assert!(matches!(client.call(&5000, SECOND).await, Err(CallError::Unknown(_))), "it takes too long");
        assert_eq!(client.call(&1, SECOND).await, Ok(1), "the connection still works");
    }

    #[tokio::test(start_paused = true)]
    async fn a_monitored_client_counts_how_calls_ended_and_says_whether_the_service_is_there() {
        let (network, monitor) = (network(), Monitor::default());
        let client = Client::<Sleeper>::new(network.clone(), "sleeper", Role::Producer).monitored(&monitor);
        let there = async || monitor.health.look(false).await.remove(0);
        let counted = |end| monitor.metrics.rpc_calls.get((Role::Broker, end));
        assert!(!there().await.ok, "nobody listens");
        let stop = start(&network).await;
        assert_eq!(there().await, Checked { check: "sleeper".into(), ok: true, needed: true, why: None });
        assert!(client.call(&1, SECOND).await.is_ok());
        assert!(client.call(&5000, SECOND).await.is_err());
        stop.cancel();
        sleep(SECOND * 6).await;
        assert!(client.call(&1, SECOND).await.is_err());
        let gone = there().await;
        assert!(!gone.ok && gone.why.as_ref().is_some_and(|why| why.contains("sleeper")), "{gone:?}");
        assert_eq!([CallEnd::Done, CallEnd::Unknown, CallEnd::Failed].map(counted), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_falls_silent_is_given_up_and_the_next_call_connects_anew() {
        let network = network();
        // Accepts and never says a word: what a wedged stream looks like.
        let silent = network.bind("sleeper").await.unwrap();
        let held = tokio::spawn(async move { silent.accept().await.unwrap() });
        let client = Client::<Sleeper>::new(network.clone(), "sleeper", Role::Producer);
        let begin = Instant::now();
        let answer = client.call(&1, SECOND * 60).await;
        assert!(matches!(&answer, Err(CallError::Unknown(why)) if why.contains("silent")), "{answer:?}");
        assert!(begin.elapsed() <= SILENCE_MAX + HEARTBEAT, "it took {:?}", begin.elapsed());
        let _stop = start(&network).await;
        assert_eq!(client.call(&1, SECOND).await, Ok(1));
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_by_heartbeats() {
        let network = network();
        let _stop = start(&network).await;
        let client = Client::<Sleeper>::new(network, "sleeper", Role::Producer);
        assert_eq!(client.call(&1, SECOND).await, Ok(1));
        sleep(SILENCE_MAX * 20).await;
        let begin = Instant::now();
        assert_eq!(client.call(&1, SECOND).await, Ok(1));
        assert!(begin.elapsed() < HEARTBEAT);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_another_service_is_told_which_this_is() {
        let network = network();
        let _stop = start(&network).await;
        let answer = Client::<Other>::new(network, "sleeper", Role::Producer).call(&1, SECOND).await;
        let why = answer.unwrap_err().to_string();
        assert!(why.contains("this is the sleeper service, the caller wants other"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_what_is_under_way_end() {
        let network = network();
        let stop = start(&network).await;
        let client = Client::<Sleeper>::new(network, "sleeper", Role::Producer);
        let (answer, ()) = tokio::join!(client.call(&200, SECOND), async {
            sleep(Duration::from_millis(100)).await;
            stop.cancel();
        });
        assert_eq!(answer, Ok(200));
    }
}
