//! The hosted half: puts the whole of Tenantry into the engine's simulation, drives it, and judges what it did.
//!
//! [`section`] is what a scenario says of Tenantry; with a seed it becomes a [`cast`] (who is there) and a [`workload`]
//! (who asks for what, when). [`world`] makes each host's network, disk, clock and entropy from the simulation;
//! [`hosts`] builds the roles upon them, with [`watch`] around broker and ledger, which fills [`witness`]; [`operators`] send the workload over
//! HTTP, [`adversary`] breaks in behind it and operators deal with what it leaves ([`triage`]). All of them write down what they saw in one [`evidence`]; the [`model`] says
//! what should have been, without sharing any logic with the system; each file under [`invariant`] compares the two.
//! [`run`] is all of that, once; [`shrink`] is it often, to make a violation small.

pub mod adversary;
pub mod canary;
pub mod cast;
pub mod evidence;
pub mod followers;
pub mod hosts;
pub mod http;
pub mod idp;
pub mod invariant;
pub mod measured;
pub mod model;
pub mod needs;
pub mod office;
pub mod operators;
pub mod pki;
pub mod run;
pub mod section;
pub mod shrink;
pub mod triage;
pub mod watch;
pub mod witness;
pub mod workload;
pub mod world;
