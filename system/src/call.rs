//! The three answers of every remote call: done, failed, unknown.
//!
//! `Ok` is done. The two errors are not interchangeable: after [`CallError::Failed`] the thing certainly did not happen;
//! after [`CallError::Unknown`] it may have, and only asking again - or doing it again under the same identifier - tells.
//! A timed-out publish is unknown, and says so.

use serde::{Deserialize, Serialize};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CallError {
    /// It certainly did not happen.
    #[error("failed: {0}")]
    Failed(String),
    /// It may or may not have happened.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl CallError {
    /// It certainly did not happen, because of `why`.
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }

    /// It may have happened; we can't tell, because of `why`.
    pub fn unknown(why: impl ToString) -> Self {
        Self::Unknown(why.to_string())
    }
}
