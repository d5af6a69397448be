//! The whole way of a command on a real disk, beside its floors, in one run: what a performance team asks first.
//!
//! ```text
//! cargo bench --bench pipeline              every part but the long ones
//! cargo bench --bench pipeline -- PART...   publish, effect, http, pace; the long ones: tenants, million
//! ```
//!
//! All roles live in this process, as in `tenantryd up`; so does the load. Every confirm, effect and audit entry is durable
//! before it counts. A figure is worth something only beside the floor of its own run: a sync costs 0.2 ms on a quiet
//! machine and ten times that on a busy one.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time, on real sockets")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use redb::{Database, TableDefinition};
use tempfile::TempDir;
use tenantry_system::audit::{EmbeddedAudit, relay};
use tenantry_system::auth::{
    Authority, Binding, Directory, EmbeddedAuthority, GrantRequest, IdentityProvider, Policies, Role,
};
use tenantry_system::broker::{Broker, EmbeddedBroker, Limits, Published};
use tenantry_system::call::CallError;
use tenantry_system::capability::{Network, OsEntropy, Tcp, World};
use tenantry_system::consumer::Consumer;
use tenantry_system::grant::{Envelope, Purpose, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
use tenantry_system::ids::{MessageId, Name, TenantId, UserId};
use tenantry_system::ledger::{
    Applied, DataKeys, DryRun, EmbeddedLedger, Ledger, Outcome, PauseGeneration, Paused, Report, Run, TenantState,
    Transaction, follow,
};
use tenantry_system::message::body_sha256;
use tenantry_system::producer::{self, Producer};
use tenantry_system::rate_limit::{Rate, RateLimits};
use tenantry_system::secret::KeySet;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// As both binaries have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 512;
/// The size of a message with its grant, in bytes, that people compare brokers with.
const MESSAGE_BYTES: usize = 400;
const IN_FLIGHT: usize = 512;
const TENANTS: usize = 100;
const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    // `cargo test --benches` runs benches too, and wants to know no more than that they start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let long = ["tenants", "million"];
    let parts: [(&str, fn()); 6] = [
        ("publish", publish),
        ("effect", effect),
        ("http", http),
        ("pace", pace),
        ("tenants", tenants),
        ("million", million),
    ];
    for (name, part) in parts {
        if wanted.iter().any(|w| w == name) || wanted.is_empty() && !long.contains(&name) {
            part();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout takes a line");
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// What redb alone commits, in rows of 400 bytes a second, 512 in a transaction, in the order of their keys.
fn redb_alone(for_: Duration) -> f64 {
    let folder = TempDir::new().expect("a folder");
    let database = Database::create(folder.path().join("floor.redb")).expect("a database");
    let (row, mut next, begin) = (vec![b'x'; MESSAGE_BYTES], 0_u64, Instant::now());
    while begin.elapsed() < for_ {
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for _ in 0..ROWS {
                next += 1;
                table.insert(next, row.as_slice()).expect("a row");
            }
        }
        transaction.commit().expect("a commit");
    }
    rate(next as usize, begin.elapsed())
}

/// The median time of a sync of one page, beside nothing else.
fn sync_alone() -> Duration {
    let folder = TempDir::new().expect("a folder");
    let file = std::fs::File::create(folder.path().join("floor")).expect("a file");
    let mut times: Vec<_> = (0..200)
        .map(|page: u64| {
            let begin = Instant::now();
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], page * 4096).expect("a page");
            file.sync_data().expect("a sync");
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn tenant(index: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{index}")).expect("a tenant")
}

fn id(index: usize) -> MessageId {
    MessageId::parse(&format!("m-{index}")).expect("an id")
}

fn body(index: usize, tenants: usize) -> String {
    let (tenant, id) = (tenant(index % tenants), id(index));
    format!(
        r#"{{"tenant_id":"{tenant}","user_id":"ana","action":"issue_credit","payload":{{"amount_minor":1,"currency":"EUR"}},"message_id":"{id}","timestamp":"2026-01-01T00:00:00Z"}}"#
    )
}

/// Every role in one process, a ledger that notes when effects were committed, and operator ana, who may do everything.
struct Rig {
    broker: Arc<EmbeddedBroker>,
    ledger: Arc<Noting>,
    audit: Arc<EmbeddedAudit>,
    authority: Arc<EmbeddedAuthority>,
    limits: RateLimits,
    world: World,
    token: String,
    user: UserId,
    tenants: usize,
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

impl Rig {
    async fn new(tenants: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        // As `tenantryd` has it: each role with a disk, and so a writer, of its own.
        let world = |role: &str| World::real(&folder.path().join(role)).expect("a world");
        let auth_world = world("auth");
        let user = UserId::parse("ana").expect("a user");
        let provider = IdentityProvider::new("urn:bench", &*auth_world.entropy);
        let binding =
            |index| Binding { user: user.clone(), tenant: tenant(index), role: Role::parse("admin").expect("a role") };
        let directory = Directory::new((0..tenants).map(binding)).expect("a directory");
        let opened = EmbeddedAuthority::open(&auth_world, provider.trusted(), Policies::default_over(directory)).await;
        let authority = Arc::new(opened.expect("auth opens"));
        let token = provider.token(&user, auth_world.clock.unix_seconds(), 86_400);
        let bounds =
            Limits { depth_max: usize::MAX, bytes_max: usize::MAX, total_bytes_max: usize::MAX, ..Limits::default() };
        let broker = Arc::new(EmbeddedBroker::open(&world("broker"), bounds).await.expect("a broker"));
        let ledger = Arc::new(EmbeddedLedger::open(&world("ledger"), wrapping_keys()).await.expect("a ledger"));
        let audit = Arc::new(EmbeddedAudit::open(&world("audit")).await.expect("an audit log"));
        let noting = Arc::new(Noting::new(ledger.clone()));
        let much = Rate::new(4_000_000, 4_000_000);
        let limits = RateLimits { tenant: much, user: much, source: much };
        let clock = auth_world.clock.clone();
        let consumer = Consumer::new(broker.clone(), authority.clone(), noting.clone(), clock, &limits);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::new(consumer).run(CancellationToken::new()));
        for outgoing in [ledger.outgoing(), broker.outgoing(), authority.outgoing()] {
            tasks.spawn(relay(outgoing, audit.clone(), auth_world.clock.clone()));
        }
        tasks.spawn(follow(ledger, authority.clone()));
        let (world, ledger) = (auth_world, noting);
        // Buckets begin empty: by the time the commands are made they have filled.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self { broker, ledger, audit, authority, limits, world, token, user, tenants, _tasks: tasks, _folder: folder }
    }

    /// The envelopes of commands `from..to`, with their genuine grants.
    async fn mint(self: &Arc<Self>, from: usize, to: usize) -> Vec<Envelope> {
        let chunk = (to - from).div_ceil(2).max(1);
        let mint = |begin: usize| {
            let rig = self.clone();
            tokio::spawn(async move {
                let mut minted = Vec::with_capacity(chunk);
                for index in begin..(begin + chunk).min(to) {
                    let body = body(index, rig.tenants);
                    let purpose = Purpose::Command {
                        action: "issue_credit".into(),
                        message_id: id(index),
                        body_sha256: body_sha256(body.as_bytes()),
                    };
                    let (token, user) = (rig.token.clone(), Some(rig.user.clone()));
                    let request = GrantRequest { token, user, tenant: tenant(index % rig.tenants), purpose };
                    let grant = rig.authority.grant(&request).await.expect("auth answers").expect("ana may");
                    minted.push(Envelope { body: body.into(), grant, trace: None });
                }
                minted
            })
        };
        let halves = join_all((from..to).step_by(chunk).map(mint)).await;
        halves.into_iter().flat_map(|half| half.expect("no panic")).collect()
    }

    async fn publish(&self, index: usize, envelope: Envelope) {
        let published = self.broker.publish(&tenant(index % self.tenants), &id(index), envelope).await;
        assert!(matches!(published, Ok(Published::Accepted { .. })), "{published:?}");
    }

    /// Publishes all, 512 in flight, and returns how long it took until the last effect and its audit entry were durable.
    async fn push_through(self: &Arc<Self>, from: usize, envelopes: Vec<Envelope>) -> Duration {
        let (count, begin) = (envelopes.len(), Instant::now());
        let (room, done) = (Arc::new(Semaphore::new(IN_FLIGHT)), self.ledger.count());
        for (offset, envelope) in envelopes.into_iter().enumerate() {
            let permit = room.clone().acquire_owned().await.expect("never closed");
            let rig = self.clone();
            tokio::spawn(async move {
                rig.publish(from + offset, envelope).await;
                drop(permit);
            });
        }
        self.settled(done + count).await;
        begin.elapsed()
    }

    /// Waits until `count` effects are durable, and their audit entries.
    async fn settled(&self, count: usize) {
        self.ledger.reached(count).await;
        while self.audit.counts().expect("the log can be read").decided < count as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A ledger that notes when each effect was committed.
struct Noting {
    inner: Arc<EmbeddedLedger>,
    effects: Mutex<BTreeMap<MessageId, Instant>>,
    noting: std::sync::atomic::AtomicBool,
    count: AtomicUsize,
    calls: AtomicU64,
    grew: Notify,
}

impl Noting {
    fn new(inner: Arc<EmbeddedLedger>) -> Self {
        Self {
            inner,
            effects: Mutex::default(),
            noting: false.into(),
            count: 0.into(),
            calls: 0.into(),
            grew: Notify::new(),
        }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    async fn reached(&self, count: usize) {
        loop {
            let grew = self.grew.notified();
            if self.count() >= count {
                return;
            }
            grew.await;
        }
    }
}

#[async_trait]
impl Ledger for Noting {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let applied = self.inner.apply(run).await?;
        let now = Instant::now();
        assert!(applied.iter().all(|applied| matches!(applied, Applied::Now(_))), "{applied:?}");
        if self.noting.load(Ordering::Relaxed) {
            let mut effects = self.effects.lock().expect("no holder panics");
            effects.extend(run.works().iter().map(|work| (work.command.message().message_id.clone(), now)));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(applied.len(), Ordering::Release);
        self.grew.notify_waiters();
        Ok(applied)
    }

    async fn outcome(&self, r: &VerifiedRead, id: &MessageId, wait: Duration) -> Result<Option<Outcome>, CallError> {
        self.inner.outcome(r, id, wait).await
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        self.inner.dry_run(right).await
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        self.inner.state(read).await
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        self.inner.pause(right, to).await
    }

    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
        self.inner.journal(read, from, max).await
    }

    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
        self.inner.reconcile(read).await
    }

    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
        self.inner.data_keys(right).await
    }
}

/// Nothing here is sealed; ledger and producer want to know who would wrap data keys.
fn wrapping_keys() -> Arc<KeySet> {
    Arc::new(KeySet::generate(Name::parse("bench-1").expect("a key's name"), &OsEntropy))
}

/// Durable confirms of 400-byte messages, 512 in flight, 100 tenants.
fn publish() {
    let floor_before = redb_alone(Duration::from_secs(2));
    let (folder, count) = (TempDir::new().expect("a folder"), 400_000);
    let confirmed = runtime().block_on(async {
        let world = World::real(folder.path()).expect("a world");
        let bounds =
            Limits { depth_max: usize::MAX, bytes_max: usize::MAX, total_bytes_max: usize::MAX, ..Limits::default() };
        let broker = Arc::new(EmbeddedBroker::open(&world, bounds).await.expect("a broker"));
        let half = MESSAGE_BYTES / 2;
        let envelope = Envelope { body: vec![b'x'; half].into(), grant: "y".repeat(half).into(), trace: None };
        let begin = Instant::now();
        let lanes = (0..IN_FLIGHT).map(|lane| {
            let (broker, envelope) = (broker.clone(), envelope.clone());
            tokio::spawn(async move {
                for index in (lane..count).step_by(IN_FLIGHT) {
                    let published = broker.publish(&tenant(index % TENANTS), &id(index), envelope.clone()).await;
                    assert!(matches!(published, Ok(Published::Accepted { .. })), "{published:?}");
                }
            })
        });
        for lane in join_all(lanes).await {
            lane.expect("every publish was confirmed");
        }
        rate(count, begin.elapsed())
    });
    let floor = f64::midpoint(floor_before, redb_alone(Duration::from_secs(2)));
    say(&format!(
        "publish    {confirmed:>9.0}/s confirmed, floor {floor:.0}/s redb alone at {ROWS} rows: {:.2} of it (wanted: 0.20, better 0.40)",
        confirmed / floor
    ));
}

/// From publish to the committed effect with grant verification, without HTTP; then the latency at half that load.
fn effect() {
    let floor = redb_alone(Duration::from_secs(1));
    runtime().block_on(async {
        let rig = Arc::new(Rig::new(TENANTS).await);
        let (warm_up, count) = (5_000, 100_000);
        let envelopes = rig.mint(0, warm_up).await;
        rig.push_through(0, envelopes).await;
        let envelopes = rig.mint(warm_up, warm_up + count).await;
        let calls = rig.ledger.calls.load(Ordering::Relaxed);
        let took = rig.push_through(warm_up, envelopes).await;
        let calls = rig.ledger.calls.load(Ordering::Relaxed) - calls;
        let full = rate(count, took);
        say(&format!(
            "effect     {full:>9.0}/s from publish to committed effect and audit entry, {:.1} commands a run, floor {floor:.0}/s redb alone: {:.3} of it (wanted: 15,000/s)",
            count as f64 / calls as f64,
            full / floor
        ));
        let from = warm_up + count;
        let half = full / 2.0;
        let histogram = open_loop(&rig, from, (half * 6.0) as usize, half).await;
        say(&format!("  at half  {}", told(half, &histogram)));
    });
}

/// Sends at a steady rate, whatever comes back, and measures from the time at which each was to be sent.
async fn open_loop(rig: &Arc<Rig>, from: usize, count: usize, per_second: f64) -> Histogram<u64> {
    let envelopes = rig.mint(from, from + count).await;
    rig.ledger.noting.store(true, Ordering::Relaxed);
    let (done, begin) = (rig.ledger.count(), Instant::now());
    let due = |offset: usize| Duration::from_secs_f64(offset as f64 / per_second);
    for (offset, envelope) in envelopes.into_iter().enumerate() {
        tokio::time::sleep_until((begin + due(offset)).into()).await;
        let rig = rig.clone();
        tokio::spawn(async move { rig.publish(from + offset, envelope).await });
    }
    rig.settled(done + count).await;
    let effects = rig.ledger.effects.lock().expect("no holder panics");
    let mut histogram = Histogram::new(3).expect("three digits");
    // The first second is warm-up.
    for offset in (per_second as usize).min(count / 2)..count {
        let latency = effects[&id(from + offset)].saturating_duration_since(begin + due(offset));
        histogram.record(latency.as_micros() as u64).expect("less than an hour");
    }
    histogram
}

fn told(per_second: f64, histogram: &Histogram<u64>) -> String {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    format!(
        "{per_second:.0}/s: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {} samples",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        histogram.len()
    )
}

/// A connection to the API that sends one request after the other.
struct Connection(SendRequest<Full<bytes::Bytes>>);

impl Connection {
    async fn open(address: &str) -> Self {
        let stream = Tcp.connect(address, tenantry_system::rights::Role::Producer).await.expect("a connection").stream;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(async move { connection.await.ok() });
        Self(sender)
    }

    async fn post(&mut self, token: &str, body: String) {
        self.0.ready().await.expect("the connection lives");
        let request = hyper::Request::post("/v1/commands").header("host", "bench").header("authorization", token);
        let answer = self.0.send_request(request.body(Full::new(body.into())).expect("a request")).await;
        let answer = answer.expect("an answer");
        let status = answer.status();
        let said = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(status, 202, "{}", String::from_utf8_lossy(&said));
    }
}

/// The API of `rig` on a socket; returns its address and what a request carries as `Authorization`.
async fn listen(rig: &Rig) -> (String, String) {
    let (broker, authority, ledger) = (rig.broker.clone(), rig.authority.clone(), rig.ledger.clone());
    let api = Producer::new(broker, authority, ledger, rig.world.clock.clone(), &rig.limits, wrapping_keys());
    let listener = Tcp.bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    tokio::spawn(producer::serve(listener, producer::router(Arc::new(api)), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (address, format!("Bearer {}", rig.token))
}

/// From HTTP to the committed effect, everything durable, load and all roles on this machine.
fn http() {
    let floor = redb_alone(Duration::from_secs(1));
    runtime().block_on(async {
        let rig = Arc::new(Rig::new(TENANTS).await);
        let (address, token) = listen(&rig).await;
        let (connections, warm_up, count) = (128, 2_000, 60_000);
        let mut took = Duration::ZERO;
        for (from, to) in [(0, warm_up), (warm_up, warm_up + count)] {
            let begin = Instant::now();
            let clients = (0..connections).map(|client| {
                let (address, token) = (address.clone(), token.clone());
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await;
                    for index in (from + client..to).step_by(connections) {
                        connection.post(&token, body(index, TENANTS)).await;
                    }
                })
            });
            for client in join_all(clients).await {
                client.expect("no client panics");
            }
            rig.settled(to).await;
            took = begin.elapsed();
        }
        let full = rate(count, took);
        say(&format!(
            "http       {full:>9.0}/s from HTTP to committed effect and audit entry, {connections} connections, floor {floor:.0}/s redb alone: {:.3} of it (wanted: 5,000/s, better 8,500/s)",
            full / floor
        ));
    });
}

/// At 200 commands a second: from HTTP to the committed effect.
fn pace() {
    let floor_before = sync_alone();
    let histogram = runtime().block_on(async {
        let rig = Arc::new(Rig::new(TENANTS).await);
        let (address, token) = listen(&rig).await;
        rig.ledger.noting.store(true, Ordering::Relaxed);
        let (per_second, count) = (200.0, 2_000);
        let (idle, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(vec![None; count])));
        let begin = Instant::now();
        let due = |index: usize| Duration::from_secs_f64(index as f64 / per_second);
        for index in 0..count {
            tokio::time::sleep_until((begin + due(index)).into()).await;
            let (address, token, idle, sent) = (address.clone(), token.clone(), idle.clone(), sent.clone());
            tokio::spawn(async move {
                let kept = idle.lock().expect("no holder panics").pop();
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => Connection::open(&address).await,
                };
                sent.lock().expect("no holder panics")[index] = Some(Instant::now());
                connection.post(&token, body(index, TENANTS)).await;
                idle.lock().expect("no holder panics").push(connection);
            });
        }
        rig.settled(count).await;
        let effects = rig.ledger.effects.lock().expect("no holder panics");
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for index in per_second as usize..count {
            // From the moment of sending: tokio's timer is a millisecond coarse, and its lateness is the load's own.
            let sent = sent.lock().expect("no holder panics")[index].expect("all were sent");
            let latency = effects[&id(index)].saturating_duration_since(sent);
            histogram.record(latency.as_micros() as u64).expect("less than an hour");
        }
        histogram
    });
    let sync = (floor_before + sync_alone()) / 2;
    let bound = sync * 4 + Duration::from_millis(1);
    say(&format!("pace       HTTP to committed effect at {}", told(200.0, &histogram)));
    say(&format!(
        "           floor: a sync takes {:.2} ms; wanted: a median of at most 4 of them and 1 ms, {:.2} ms",
        sync.as_secs_f64() * 1000.0,
        bound.as_secs_f64() * 1000.0
    ));
}

/// What a command costs among ever more tenants.
fn tenants() {
    for tenants in [100, 1_000, 10_000, 100_000] {
        let floor = redb_alone(Duration::from_secs(1));
        runtime().block_on(async {
            let rig = Arc::new(Rig::new(tenants).await);
            let count = 100_000;
            // Each tenant has been seen before: a first row costs more than a next one.
            let envelopes = rig.mint(0, tenants.max(5_000)).await;
            rig.push_through(0, envelopes).await;
            let from = tenants.max(5_000);
            let envelopes = rig.mint(from, from + count).await;
            let full = rate(count, rig.push_through(from, envelopes).await);
            say(&format!(
                "tenants    {tenants:>7}: {full:>7.0}/s, floor {floor:.0}/s redb alone: {:.3} of it",
                full / floor
            ));
        });
    }
}

/// Resident memory of this process in bytes, by the kernel's account.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

/// Memory while a million commands pass.
fn million() {
    runtime().block_on(async {
        let rig = Arc::new(Rig::new(TENANTS).await);
        let step = 50_000;
        for passed in (0..1_000_000).step_by(step) {
            let envelopes = rig.mint(passed, passed + step).await;
            let took = rig.push_through(passed, envelopes).await;
            if (passed + step) % 100_000 == 0 {
                let (mib, full) = (resident() >> 20, rate(step, took));
                say(&format!("million    {:>9} commands passed: {mib} MiB resident, {full:.0}/s", passed + step));
            }
        }
    });
}
