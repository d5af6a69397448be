//! A disk image for each host, and what faults do to it: the machines of a service that brings none of its own.
//!
//! Faults of frames, connections, messages, clocks and of processes that stand still or answer nothing reach a service through
//! its own network and clock: under these machines they change nothing, and say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::dice::Dice;
use crate::engine::disk_image::{DiskImage, Flip};
use crate::engine::disks::DiskState;
use crate::engine::runner::Machines;

/// The disks of all hosts. Clones are the same disks.
#[derive(Debug, Clone)]
pub struct Disks {
    dice: Dice,
    hosts: Arc<Mutex<BTreeMap<String, Machine>>>,
}

#[derive(Debug, Clone, Default)]
struct Machine {
    image: Arc<Mutex<DiskImage>>,
    losses: u64,
    rots: u64,
    /// How often it was told that a write is to be torn.
    tears: u64,
}

impl Disks {
    /// Disks that are empty. `seed` decides what a power loss or a torn write leaves of them, and where they rot.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), hosts: Arc::default() }
    }

    /// The disk of `host`; it outlives the host's processes.
    ///
    /// Tasks of the host's software may share it; whoever locks it must not wait for anything meanwhile.
    pub fn of(&self, host: &str) -> Arc<Mutex<DiskImage>> {
        self.change(host, |machine, _| machine.image.clone())
    }

    /// Shows `act` the machine of `host`, and dice of its own.
    fn change<R>(&self, host: &str, act: impl FnOnce(&mut Machine, &Dice) -> R) -> R {
        let dice = self.dice.of("machines", host, 0);
        act(self.hosts.lock().expect("no holder panics").entry(host.to_owned()).or_default(), &dice)
    }
}

impl Machines for Disks {
    /// Of connections it knows nothing: that is for whoever brings a network.
    fn before_crash(&mut self, host: &str) -> u64 {
        self.of(host).lock().expect("no holder panics").crash();
        0
    }

    fn power_loss(&mut self, host: &str, now: Duration) -> u64 {
        self.change(host, |machine, dice| {
            machine.losses += 1;
            machine.image.lock().expect("no holder panics").power_loss(&dice.at(now), machine.losses).bytes_lost
        })
    }

    fn set_disk(&mut self, host: &str, state: DiskState) {
        self.change(host, |machine, dice| {
            let mut image = machine.image.lock().expect("no holder panics");
            machine.tears += u64::from(state.tearing && !image.state().tearing);
            image.set_state(state, &dice.of("machines.torn", "", machine.tears));
        });
    }

    fn rot(&mut self, host: &str, now: Duration) -> BTreeSet<Flip> {
        self.change(host, |machine, dice| {
            machine.rots += 1;
            machine.image.lock().expect("no holder panics").rot(&dice.at(now), machine.rots)
        })
    }

    fn reset(&mut self, _: &str, _: &str) -> u64 {
        0
    }

    fn resume(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_reach_the_disk_of_their_host_and_no_other() {
        let mut disks = Disks::new(1);
        let (a, b) = (disks.of("a"), disks.of("b"));
        for image in [&a, &b] {
            image.lock().unwrap().create("x").unwrap();
            image.lock().unwrap().write("x", 0, &[7; 2000]).unwrap();
        }
        let lost = disks.power_loss("a", Duration::ZERO);
        assert!(lost > 0, "nothing was synced, and which sectors are lost is drawn");
        assert_eq!(disks.power_loss("a", Duration::ZERO), 0, "what is left is durable");
        assert_eq!(b.lock().unwrap().len("x").unwrap(), 2000);
        let whole = |image: &Mutex<DiskImage>| {
            let image = image.lock().unwrap();
            let mut content = vec![0; image.len("x").unwrap() as usize];
            image.read("x", 0, &mut content).map(|()| content).unwrap()
        };
        let before = whole(&a);
        assert!(!disks.rot("b", Duration::ZERO).is_empty() && whole(&a) == before && whole(&b) != [7; 2000]);
        disks.set_disk("b", DiskState { full: true, ..DiskState::default() });
        assert!(b.lock().unwrap().create("y").is_err() && a.lock().unwrap().create("y").is_ok());
        disks.before_crash("b");
        assert_eq!((a.lock().unwrap().epoch(), b.lock().unwrap().epoch()), (2, 1));
    }
}
