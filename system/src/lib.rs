//! Tenantry, the system: the message-driven backend of an internal operations panel of a multi-tenant platform.
//!
//! ```text
//! operator -> HTTP -> producer -> auth       who is this, may they?  -> signed grant
//!                     producer -> broker     durable, then 202
//! broker   -> consumer: fetch (leased, in order per tenant, fair between tenants)
//!             consumer: verify the grant, ask auth again
//!             consumer -> ledger             ONE transaction of ONE tenant: effect + outcome + audit outbox
//!             consumer -> broker             settle
//! ledger   -> audit                          outbox relay, each entry exactly once
//! ```
//!
//! Everything the outside world is comes in through [`capability`]; nothing here knows of any simulator.

mod accept;
pub mod action;
pub mod alerting;
pub mod attack;
pub mod audit;
pub mod auth;
pub mod billing;
pub mod broker;
pub mod call;
pub mod capability;
pub mod consumer;
pub mod grant;
pub mod ids;
pub mod jws;
pub mod ledger;
pub mod message;
pub mod monitor;
pub mod outside;
pub mod producer;
pub mod rate_limit;
pub mod rights;
pub mod role;
pub mod rpc;
pub mod schema;
pub mod secret;
pub mod store;
pub mod tlog;
pub mod tls;
pub mod whole;

#[cfg(test)]
mod hostile_ids;
#[cfg(test)]
mod testing;
