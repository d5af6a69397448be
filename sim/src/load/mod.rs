//! The same workload against a live system, in wall time.
//!
//! ```text
//! scenario + seed -> workload::draw -> commands --+
//! shape + rate    -> arrivals       -> times    --+-> shots -> drive -> samples -> measure -> LoadReport
//!                                                             |  ^
//!                                             a Target: HTTP  v  | kills: of roles that a Cluster of ours runs
//! ```
//!
//! An open loop: [`arrivals`] decides when each command is meant to be sent, and nothing that the system does changes it.
//! [`mod@drive`] sends with a bounded number of requests under way; what finds no free place waits, and its wait counts.
//! [`measure`] makes distributions and intervals of the samples, [`recovery`] says how long a kill was felt, [`threshold`] judges,
//! and [`search`] looks for the highest rate that is still good enough.

pub mod arrivals;
pub mod cluster;
pub mod drive;
mod guard;
pub mod http;
pub mod judge;
pub mod kill;
pub mod measure;
pub mod recovery;
pub mod search;
pub mod shots;
pub mod threshold;
