//! The hosted half: puts the whole of Tenantry into the engine's simulation, drives it, and judges what it did.
//!
//! [`section`] is what a scenario says of Tenantry; with a seed it becomes a [`cast`] (who is there) and a [`workload`]
//! (who asks for what, when). [`world`] makes each host's network, disk, clock and entropy from the simulation;
//! [`hosts`] builds the roles upon them, with [`watch`] around broker and ledger, which fills [`witness`]; [`operators`] send the workload over
//! HTTP, [`adversary`] breaks in behind it and operators deal with what it leaves ([`triage`]); what takes two they do in pairs ([`approvers`]). A script may run away ([`burst`]), and the
//! broker take back what it has handed out ([`storm`]). All of them write down what they saw in one [`evidence`]; the [`model`] says
//! what should have been, without sharing any logic with the system; each file under [`invariant`] compares the two.
//! What a run reaches, and what must hold while it goes on, is declared in [`marks`]; the watch that is kept meanwhile is
//! [`early`], and can end a run at its first violation.
//! [`run`] is all of that, once; [`shrink`] does it often, to make a violation small. A small violation is kept as a
//! [`regression`], told as a [`story`], set beside its nearest passing [`neighbour`], and searched for when it became
//! [`inevitable`].

pub mod adversary;
pub mod approvers;
pub mod burst;
pub mod canary;
pub mod carried;
pub mod cast;
pub mod early;
pub mod evidence;
pub mod followers;
mod frames;
pub mod hosts;
pub mod http;
pub mod idp;
pub mod inevitable;
pub mod invariant;
pub mod marks;
pub mod measured;
pub mod model;
pub mod needs;
pub mod neighbour;
pub mod office;
pub mod operators;
pub mod pki;
pub mod receiver;
pub mod regression;
pub mod report;
mod rest;
pub mod run;
pub mod section;
pub mod shrink;
pub mod storm;
pub mod story;
pub mod triage;
pub mod watch;
mod wire;
pub mod witness;
pub mod workload;
pub mod world;
