//! Verifying an export of the audit log, beside SHA-256 alone over the same bytes in the same run.
//!
//! 100,000 records in memory, as large as a usual decision; `VERIFY_ENTRIES=1000000` for a million. Whatever is read and
//! compared beside hashing is what the ratio shows. The tree itself takes a hash of 65 bytes for each record.

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tenantry_system::audit::{Audit, AuditEntry, EmbeddedAudit, Event, Files, verify};
use tenantry_system::capability::World;
use tenantry_system::ids::{MessageId, TenantId, UserId};
use tenantry_system::tlog::{Frontier, leaf_hash};
use tokio::runtime::Runtime;

/// Records in an append: what one commit takes.
const APPEND: u64 = 512;

fn entries() -> u64 {
    std::env::var("VERIFY_ENTRIES").map_or(100_000, |text| text.parse().expect("VERIFY_ENTRIES is a number"))
}

fn decided(number: u64) -> Event {
    let body = format!(
        r#"{{"tenant_id":"tenant-{}","user_id":"ana","action":"issue_credit","payload":{{"amount_minor":1,"currency":"EUR"}},"message_id":"m-{number}","timestamp":"2026-01-01T00:00:00Z"}}"#,
        number % 100
    );
    Event::Decided(AuditEntry {
        at_unix_ms: number as i64,
        tenant_id: TenantId::parse(&format!("tenant-{}", number % 100)).expect("a tenant"),
        user_id: UserId::parse("ana").expect("a user"),
        replayed_by: None,
        action: "issue_credit".into(),
        message_id: MessageId::parse(&format!("m-{number}")).expect("an id"),
        body: body.into(),
        outcome: "applied".into(),
        detail: "EUR is 1 now".into(),
        authority_revision: 1,
        policies: vec!["billing-manages-limits-and-credit".into()],
        approved_by: None,
    })
}

fn export(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    group.sample_size(10);
    let (runtime, folder) = (Runtime::new().expect("a runtime"), TempDir::new().expect("a folder"));
    let world = World::real(folder.path()).expect("a world");
    let audit = runtime.block_on(EmbeddedAudit::open(&world)).expect("a log");
    let mut next = 1;
    while next <= entries() {
        let last = (next + APPEND - 1).min(entries());
        runtime.block_on(audit.append("ledger", next, (next..=last).map(decided).collect())).expect("an append");
        next = last + 1;
    }
    let mut export = Files::default();
    audit.export(&mut export).expect("an export");
    let old = audit.newest_checkpoint().expect("a checkpoint");
    let records = &export.0["entries.jsonl"];
    group.throughput(Throughput::Bytes(records.len() as u64));
    group.bench_function("export", |b| {
        b.iter(|| {
            let verified = verify(black_box(&export), audit.key(), Some(&old)).expect("readable");
            assert!(verified.is_sound() && verified.records == entries(), "{:?}", verified.violations);
        });
    });
    group.bench_function("floor: SHA-256 of the records", |b| b.iter(|| leaf_hash(black_box(records))));
    group.bench_function("floor: and of the tree", |b| {
        let tree = |lines: std::slice::Split<'_, u8, fn(&u8) -> bool>| {
            let mut edge = Frontier::default();
            for line in lines {
                let Ok(()) = edge.append::<Infallible>(leaf_hash(line), |_, _, _| Ok(()));
            }
            edge.root()
        };
        let is_end: fn(&u8) -> bool = |byte| *byte == b'\n';
        b.iter_batched(
            || records[..records.len() - 1].split(is_end),
            |lines| black_box(tree(lines)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
