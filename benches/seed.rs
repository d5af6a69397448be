//! A whole seed, beside its floor: bare turmoil with the same hosts, the same ticks, and the same chunks of bytes between the
//! same hosts at the same times, and nobody who reads meaning into them. A calm second; the same encrypted and with faults;
//! and the standard chaos, longer.

use std::collections::BTreeMap;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tenantry_reports::verdict::Verdict;
use tenantry_sim::tenantry::run::Setup;
use tenantry_sim::tenantry::section::{self, Scenario};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 7000;
const SEED: u64 = 1;

/// Sender and receiver to (virtual time, bytes) of each chunk.
type Chunks = BTreeMap<(String, String), Vec<(Duration, usize)>>;

fn setup_of(file: &str) -> Setup {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the scenario");
    Setup::expand(&Scenario::parse(&path, &text, section::hosts).expect("a sound scenario"), SEED)
}

fn chunks(setup: &Setup) -> (Chunks, Duration) {
    let ended = setup.run(true);
    assert_eq!(ended.finished.record.verdict, Verdict::Pass, "what does not pass is no measure");
    let mut chunks = Chunks::new();
    for entry in ended.trace.iter().filter(|entry| entry.kind == "net.out") {
        let mut words = entry.detail.split(' ');
        let (peer, bytes) = (words.next().expect("a peer"), words.next().expect("a size"));
        let chunk = (Duration::from_micros(entry.at_us), bytes.parse().expect("a number"));
        chunks.entry((entry.host.clone(), peer.to_owned())).or_default().push(chunk);
    }
    (chunks, Duration::from_millis(ended.finished.record.virtual_ms))
}

fn bare_turmoil(chunks: &Chunks, tick_ms: u64, virtual_time: Duration) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(SEED)
        .tick_duration(Duration::from_millis(tick_ms))
        .simulation_duration(virtual_time * 2)
        .min_message_latency(Duration::from_millis(2))
        .max_message_latency(Duration::from_millis(2))
        .tcp_capacity(4096)
        .build();
    let hosts: std::collections::BTreeSet<_> = chunks.keys().flat_map(|(from, to)| [from, to]).cloned().collect();
    for host in hosts {
        let outgoing: Vec<_> = chunks
            .iter()
            .filter(|((from, _), _)| *from == host)
            .map(|((_, to), chunks)| (to.clone(), chunks.clone()))
            .collect();
        sim.host(host, move || software(outgoing.clone()));
    }
    while sim.elapsed() < virtual_time {
        sim.step().expect("nothing fails");
    }
}

async fn software(outgoing: Vec<(String, Vec<(Duration, usize)>)>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    for (to, chunks) in outgoing {
        tokio::spawn(async move {
            let begin = tokio::time::Instant::now();
            let mut stream = TcpStream::connect((to, PORT)).await.expect("a connection");
            for (at, bytes) in chunks {
                tokio::time::sleep_until(begin + at).await;
                stream.write_all(&vec![b'x'; bytes]).await.expect("a chunk goes out");
            }
            std::future::pending::<()>().await;
        });
    }
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
}

fn seed(c: &mut Criterion) {
    for (name, file, samples) in [
        ("smoke", "scenarios/smoke.toml", 20),
        ("smoke_tls", "benches/scenarios/smoke_tls.toml", 20),
        ("full_chaos", "benches/scenarios/full_chaos.toml", 10),
    ] {
        let setup = setup_of(file);
        let (chunks, virtual_time) = chunks(&setup);
        let mut group = c.benchmark_group(name);
        group.sample_size(samples);
        group.bench_function("seed", |b| b.iter(|| setup.run(false)));
        group.bench_function("floor: bare turmoil", |b| b.iter(|| bare_turmoil(&chunks, setup.tick_ms, virtual_time)));
        group.finish();
    }
}

criterion_group!(benches, seed);
criterion_main!(benches);
