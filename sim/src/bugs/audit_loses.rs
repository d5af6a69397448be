//! Some of what should stand in the audit log never comes there, and nothing shows that it is missing.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::audit::{Audit, Event, StepKind};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentAudit};

struct AuditLoses {
    inner: Arc<dyn Audit>,
    kit: Kit,
    /// Whether the event of this number is lost.
    loses: fn(u64, &Event) -> bool,
}

fn losing(inner: Arc<dyn Audit>, kit: &Kit, loses: fn(u64, &Event) -> bool) -> Arc<dyn Audit> {
    Arc::new(Bent(AuditLoses { inner, kit: kit.clone(), loses }))
}

/// One delivery in eight.
pub(super) fn steps(inner: Arc<dyn Audit>, kit: &Kit) -> Arc<dyn Audit> {
    losing(inner, kit, |number, event| {
        number.is_multiple_of(8) && matches!(event, Event::Step(step) if step.kind == StepKind::Delivered)
    })
}

/// What was refused.
pub(super) fn refusals(inner: Arc<dyn Audit>, kit: &Kit) -> Arc<dyn Audit> {
    losing(inner, kit, |_, event| matches!(event, Event::Refused(_)))
}

/// One decision in three: its effect was committed, and its entry was to be written after it.
pub(super) fn decisions(inner: Arc<dyn Audit>, kit: &Kit) -> Arc<dyn Audit> {
    losing(inner, kit, |number, event| number.is_multiple_of(3) && matches!(event, Event::Decided(_)))
}

/// Nothing by itself: what others have lost is left out of the numbers.
pub(super) fn others(inner: Arc<dyn Audit>, kit: &Kit) -> Arc<dyn Audit> {
    losing(inner, kit, |_, _| false)
}

/// Under what it is noted that a source's event of this number is lost.
#[must_use]
pub(super) fn lost(source: &str, number: u64) -> String {
    format!("{source}/{number:012}")
}

#[async_trait]
impl BentAudit for AuditLoses {
    fn inner(&self) -> &dyn Audit {
        &*self.inner
    }

    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        // What is lost leaves no gap in the numbers. Which it was outlives the process: a batch may be sent again.
        let name = |number: u64| lost(source, number);
        let last = first + events.len() as u64 - 1;
        let numbered = (first..).zip(events);
        let (lost, kept): (Vec<_>, Vec<_>) = numbered.partition(|(number, event)| (self.loses)(*number, event));
        let before = {
            let mut notes = self.kit.notes();
            notes.extend(lost.iter().map(|(number, _)| (name(*number), 1)));
            notes.range(name(0)..name(first)).count() as u64
        };
        if !kept.is_empty() {
            let kept = kept.into_iter().map(|(_, event)| event).collect();
            self.inner.append(source, first - before, kept).await?;
        }
        Ok(last)
    }
}
