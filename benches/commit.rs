//! Durable commits on a real disk: the broker's publish and the ledger's apply, 1, 64 and 512 at once, beside redb alone
//! with as many rows of 400 bytes in one transaction.
//!
//! Only ratios within one run mean anything: a sync costs 0.2 ms on a quiet machine and ten times that on a busy one.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use redb::{Database, TableDefinition};
use tempfile::TempDir;
use tenantry_system::auth::{
    Authority, Binding, Directory, EmbeddedAuthority, GrantRequest, IdentityProvider, Policies, Role,
};
use tenantry_system::broker::{Broker, EmbeddedBroker, Limits, Position, Published};
use tenantry_system::capability::{OsEntropy, World};
use tenantry_system::grant::{Envelope, Purpose, Verifier};
use tenantry_system::ids::{MessageId, Name, TenantId, UserId};
use tenantry_system::ledger::{Applied, EmbeddedLedger, Ledger, Run, Work, follow};
use tenantry_system::message::body_sha256;
use tenantry_system::secret::KeySet;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const ROWS: [usize; 3] = [1, 64, 512];
const TENANTS: usize = 100;
/// The size of a message with its grant, in bytes, that people compare brokers with.
const MESSAGE_BYTES: usize = 400;
const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

fn tenant(index: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{}", index % TENANTS)).expect("a tenant")
}

fn id(index: usize) -> MessageId {
    MessageId::parse(&format!("m-{index}")).expect("an id")
}

fn redb_alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(10);
    let folder = TempDir::new().expect("a folder");
    let database = Database::create(folder.path().join("floor.redb")).expect("a database");
    let (row, mut next) = (vec![b'x'; MESSAGE_BYTES], 0);
    for rows in ROWS {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("floor: redb alone", rows), |b| {
            b.iter(|| {
                let transaction = database.begin_write().expect("a transaction");
                {
                    let mut table = transaction.open_table(TABLE).expect("a table");
                    for _ in 0..rows {
                        next += 1;
                        table.insert(next, row.as_slice()).expect("a row");
                    }
                }
                transaction.commit().expect("a commit");
            });
        });
    }
    group.finish();
}

fn broker(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(10);
    let (runtime, folder) = (Runtime::new().expect("a runtime"), TempDir::new().expect("a folder"));
    let limits =
        Limits { depth_max: usize::MAX, bytes_max: usize::MAX, total_bytes_max: usize::MAX, ..Limits::default() };
    let world = World::real(folder.path()).expect("a world");
    let broker = runtime.block_on(EmbeddedBroker::open(&world, limits)).expect("a broker");
    let envelope = Envelope {
        body: vec![b'x'; MESSAGE_BYTES / 2].into(),
        grant: "y".repeat(MESSAGE_BYTES / 2).into(),
        trace: None,
    };
    let mut next = 0;
    for rows in ROWS {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("broker publish", rows), |b| {
            b.iter(|| {
                let publish = |index: usize| {
                    let (broker, envelope) = (&broker, envelope.clone());
                    async move { broker.publish(&tenant(index), &id(index), envelope).await }
                };
                let published = runtime.block_on(join_all((next..next + rows).map(publish)));
                assert!(published.iter().all(|published| matches!(published, Ok(Published::Accepted { .. }))));
                next += rows;
            });
        });
    }
    group.finish();
}

/// Nothing here is sealed; a ledger wants to know who would wrap its data keys.
fn wrapping_keys() -> Arc<KeySet> {
    Arc::new(KeySet::generate(Name::parse("bench-1").expect("a key's name"), &OsEntropy))
}

fn ledger(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(10);
    let (runtime, folder) = (Runtime::new().expect("a runtime"), TempDir::new().expect("a folder"));
    let world = World::real(folder.path()).expect("a world");
    let ledger = Arc::new(runtime.block_on(EmbeddedLedger::open(&world, wrapping_keys())).expect("a ledger"));
    let mint = runtime.block_on(Mint::new(&world));
    ledger.learn(mint.authority.in_force_now(), Instant::now());
    runtime.spawn(follow(ledger.clone(), mint.authority.clone()));
    let mut next = 0;
    for rows in ROWS {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("ledger apply", rows), |b| {
            let prepare = || {
                next += rows;
                // What each lane would deliver: its commands in their order.
                let lanes = (0..TENANTS.min(rows)).map(|lane| mint.run((next - rows + lane..next).step_by(TENANTS)));
                runtime.block_on(join_all(lanes))
            };
            let apply = |runs: Vec<Run>| {
                let applied = runtime.block_on(join_all(runs.iter().map(|run| ledger.apply(run))));
                let now = |applied: &Vec<Applied>| applied.iter().all(|applied| matches!(applied, Applied::Now(_)));
                assert!(applied.iter().all(|applied| applied.as_ref().is_ok_and(now)));
                black_box(applied)
            };
            b.iter_batched(prepare, apply, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Makes verified commands: auth's grant and its verification are not what is measured.
struct Mint {
    authority: Arc<EmbeddedAuthority>,
    verifier: Verifier,
    token: String,
    user: UserId,
}

impl Mint {
    async fn new(world: &World) -> Self {
        let user = UserId::parse("ana").expect("a user");
        let provider = IdentityProvider::new("urn:bench", &*world.entropy);
        let binding =
            |index| Binding { user: user.clone(), tenant: tenant(index), role: Role::parse("admin").expect("a role") };
        let directory = Directory::new((0..TENANTS).map(binding)).expect("a directory");
        let opened = EmbeddedAuthority::open(world, provider.trusted(), Policies::default_over(directory)).await;
        let authority = Arc::new(opened.expect("auth opens"));
        let verifier = Verifier::new(authority.clone(), world.clock.clone());
        Self { authority, verifier, token: provider.token(&user, world.clock.unix_seconds(), 86_400), user }
    }

    /// A run of one tenant's commands.
    async fn run(&self, indices: impl Iterator<Item = usize>) -> Run {
        Run::new(join_all(indices.map(|index| self.work(index))).await).expect("one tenant's, in order")
    }

    async fn work(&self, index: usize) -> Work {
        let (tenant, message_id) = (tenant(index), id(index));
        let body = format!(
            r#"{{"tenant_id":"{tenant}","user_id":"ana","action":"issue_credit","payload":{{"amount_minor":1,"currency":"EUR"}},"message_id":"{message_id}","timestamp":"2026-01-01T00:00:00Z"}}"#
        );
        let purpose =
            Purpose::Command { action: "issue_credit".into(), message_id, body_sha256: body_sha256(body.as_bytes()) };
        let request = GrantRequest { token: self.token.clone(), user: Some(self.user.clone()), tenant, purpose };
        let grant = self.authority.grant(&request).await.expect("auth answers").expect("ana may");
        let command =
            self.verifier.command(Envelope { body: body.into(), grant, trace: None }).await.expect("our own grant");
        let permission = command.message().action.permission();
        let decided = {
            let (tenant, body) = (command.scope().tenant(), command.message().body_sha256());
            self.authority.recheck(&self.user, tenant, permission, &body).await
        };
        let position = Position { epoch: 1, sequence: index as u64 + 1 };
        Work { command, decision: decided.expect("auth answers"), position }
    }
}

criterion_group!(benches, redb_alone, broker, ledger);
criterion_main!(benches);
