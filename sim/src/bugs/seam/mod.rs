//! What a defect is put between: each of the system's traits with every method passed on, so that a bug is written down as
//! the one method in which it differs.

mod audit;
mod authority;
mod broker;
mod disk;
mod ledger;
mod network;

pub use audit::BentAudit;
pub use authority::BentAuthority;
pub use broker::BentBroker;
pub use disk::{BentDisk, Memory};
pub use ledger::BentLedger;
pub use network::{BentNetwork, OnRead};

/// Something bent, as the trait that it stands for.
pub struct Bent<T>(pub T);
