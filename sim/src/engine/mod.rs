//! The generic half of the harness: everything here would serve any tokio service, and nothing here names Tenantry.
//!
//! The way of one run goes through the rooms in this order. A [`scenario`] file says what may happen. With a seed and
//! the [`dice`] it expands to a [`plan`], the explicit list of what happens when; its [`chaos`] is spent there. The [`runner`] hosts the services in
//! turmoil and steps virtual time; before each step it asks the [`injector`] which [`fault`]s begin or heal, and the
//! injector asks [`links`] what that means for every wire and [`disks`] what it means for every disk. The services write
//! to a [`disk_image`], which forgets on power loss what was not durable ([`machines`] has one for each host). What happened goes into the [`trace`], what was worth reaching or must
//! hold meanwhile into [`marks`]; a panic on any host comes back as a value
//! through [`panics`]. The [`suite`] does all that for many seeds at once, each on a fresh thread; a [`hunt`] for as
//! many as there is time for, and gives up on those that hang. What fails, [`shrink`] makes small; that a run is the same twice, [`double`] checks.
//!
//! Rules of these rooms: no wall clock, no map whose order can change, and no random number that depends on how many
//! were drawn before it.

pub mod chain;
pub mod chaos;
pub mod dice;
pub mod disk_image;
pub mod disks;
pub mod double;
pub mod fault;
mod fault_limits;
pub mod hunt;
pub mod injector;
pub mod links;
pub mod machines;
pub mod marks;
pub mod panics;
pub mod plan;
pub mod runner;
pub mod scenario;
pub mod scenario_error;
mod scenario_fault;
pub mod scenario_plan;
mod scenario_schema;
pub mod shrink;
pub mod spanned;
pub mod suite;
pub mod trace;
pub mod weather;
