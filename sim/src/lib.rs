//! The harness: runs the whole of Tenantry inside one seeded simulation, breaks it on purpose, and says what broke.
//!
//! [`engine`] is the generic half. It knows dice, faults, disks, scenarios and turmoil, and nothing of Tenantry: a
//! service of another house that runs on tokio can be hosted by it as it stands. Only the other half names
//! `tenantry_system`.

// rustdoc reads its own flags, and runs nothing.
#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "tenantry-sim needs `--cfg tokio_unstable`: without it turmoil swallows a panic in a spawned task and `select!` is \
     unseeded. `.cargo/config.toml` sets it, but an outer RUSTFLAGS replaces that file: unset RUSTFLAGS, or add \
     `--cfg tokio_unstable` to it."
);

pub mod bugs;
pub mod engine;
pub mod load;
pub mod tenantry;
