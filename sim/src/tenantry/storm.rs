//! A redelivery storm: the broker takes back what it has handed out, and hands it out anew, while those who had it work on.
//!
//! It is what a broker does whose connections to its consumers flap (RabbitMQ requeues all that a closed channel had), or whose
//! deadline for acks is set shorter than the work takes. Here every lease is given back in its holder's name, a moment after
//! it was granted: consumers find that their leases have ended, the same run is out a second time, and what they settle late
//! comes again. It is a word, no silence: no message gets nearer to the dead letters by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tenantry_system::broker::{Again, Broker, Lease, Settlement};
use tokio::time::sleep;

use super::evidence::Evidence;
use super::marks;
use super::world::Worlds;

/// The broker's host.
const HOST: &str = "broker";

/// How often everything is taken back, in virtual time: more often than a run can be dealt with.
const EVERY: Duration = Duration::from_millis(25);

/// What is out, by the tokens of its leases.
#[derive(Default)]
pub struct Handed(Mutex<BTreeMap<u64, Lease>>);

impl Handed {
    /// `lease` was granted.
    pub fn out(&self, lease: &Lease) {
        self.lock().insert(lease.token, lease.clone());
    }

    /// `lease` has ended, or is about to.
    pub fn back(&self, lease: &Lease) {
        self.lock().remove(&lease.token);
    }

    /// Takes back what `broker` has handed out, again and again while there is a storm; for ever, if the plan has any.
    pub async fn storm(&self, worlds: &Worlds, broker: &dyn Broker, evidence: &Evidence) {
        if !worlds.has_storms() {
            return std::future::pending().await;
        }
        let weather = worlds.weather();
        loop {
            sleep(EVERY).await;
            if !weather.storms(HOST) {
                continue;
            }
            let out = std::mem::take(&mut *self.lock());
            for lease in out.into_values() {
                let again = Again { reason: "the broker took it back".into(), after_ms: Some(1) };
                // One that had ended is not there to be taken; and a broker whose store fails dies of it by itself.
                let taken = broker.settle(&lease, Settlement { ended: Vec::new(), again }).await;
                if taken == Ok(true) {
                    evidence.seen().witness.taken_back.insert(lease.tenant.clone(), super::world::now());
                    weather.felt(HOST, &["redelivery_storm"]);
                    evidence.record(HOST, "broker.taken_back", &format!("{lease:?}"));
                    evidence.mark(marks::TAKEN_BACK);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Lease>> {
        self.0.lock().expect("no holder panics")
    }
}
