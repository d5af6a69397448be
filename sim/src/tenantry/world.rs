//! Each host's outside world, made from the simulation: turmoil's network, a disk image, simulated time, seeded entropy.
//!
//! The network writes every chunk that goes out or comes in to the trace: the digest covers each byte that any two hosts
//! exchanged, and when. If channels are encrypted it writes what they carry, not what is on the wire: ciphertext differs
//! from run to run (handshakes draw on randomness of the TLS library's own), its length and its times do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use tenantry_system::capability::{
    BoxStream, Channel, Clock, Disk, DiskFile, Entropy, Incoming, Job, Listener, Network, World,
};
use tenantry_system::monitor::{Metrics, Monitor, Tracer};
use tenantry_system::rights::Role;
use tenantry_system::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::canary::{Canaries, OPERATORS_HOP, Tail};
use super::carried::Carried;
use super::frames::{self, Counts, Trouble, Troubled};
use super::measured::{Measured, Spans};
use super::pki::Pki;
use super::wire::{Gate, Life, SimNetwork};
use super::{idp, operators, receiver};
use crate::engine::dice::Dice;
use crate::engine::disk_image::{DiskImage, Flip};
use crate::engine::disks::DiskState;
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::runner::Machines;
use crate::engine::trace::Trace;
use crate::engine::weather::Weather;

/// The wall time at which every simulation begins: 2026-01-01T00:00:00Z. A constant, so that tokens and timestamps are
/// the same on any day.
const EPOCH_SECONDS: u64 = 1_767_225_600;

/// Who is no part of the house has no certificate of it.
const OUTSIDE: [&str; 2] = [idp::HOST, receiver::HOST];

/// When every simulation begins.
#[must_use]
pub fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS)
}

/// Virtual time since the simulation began; zero outside of it.
#[must_use]
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Virtual time of an instant of the simulated clock, of a host without skew.
#[must_use]
pub fn since_epoch(unix_ms: i64) -> Duration {
    let begin = i64::try_from(EPOCH_SECONDS).expect("an instant of ours") * 1000;
    Duration::from_millis(u64::try_from(unix_ms - begin).unwrap_or(0))
}

/// The disks of all hosts: they outlive the hosts' processes.
#[derive(Clone)]
pub struct Worlds {
    dice: Dice,
    trace: Trace,
    sync_ms: std::ops::RangeInclusive<u64>,
    hosts: Arc<Mutex<BTreeMap<String, Hosted>>>,
    lying_sync: bool,
    pki: Option<Arc<Pki>>,
    canaries: Option<Canaries>,
    spans: Arc<Spans>,
    weather: Weather,
    /// Whether the plan has faults that act on frames: without any nobody needs to look at each frame.
    frames: bool,
    /// Whether it has redelivery storms.
    storms: bool,
    /// What chunks carry, if it is wanted.
    carried: Carried,
}

struct Hosted {
    image: Arc<Mutex<DiskImage>>,
    starts: u64,
    losses: u64,
    rots: u64,
    /// How often its disk was told that a write is to be torn.
    tears: u64,
    /// What each of its lives has measured.
    metrics: Vec<Arc<Metrics>>,
    /// The encrypted network of its present life.
    tls: Option<Arc<Tls>>,
    /// The connections of its present life.
    life: Option<Life>,
    /// Who waits for the process to go on.
    gate: Gate,
    /// How often each frame of each name was sent to each host, over all lives.
    frames: Counts,
    /// Told when the process of its present life is handed what kills it.
    poisoned: Arc<Notify>,
}

impl Worlds {
    /// Worlds in which a sync takes `sync_ms` of virtual milliseconds, and, if `lying_sync`, does nothing.
    #[must_use]
    pub fn new(dice: Dice, trace: Trace, sync_ms: std::ops::RangeInclusive<u64>, lying_sync: bool) -> Self {
        Self {
            dice,
            trace,
            sync_ms,
            hosts: Arc::default(),
            lying_sync,
            pki: None,
            canaries: None,
            spans: Arc::default(),
            weather: Weather::default(),
            frames: false,
            storms: false,
            carried: Carried::default(),
        }
    }

    /// The same, in which what chunks carry is kept in `carried`.
    #[must_use]
    pub fn read_by(self, carried: &Carried) -> Self {
        Self { carried: carried.clone(), ..self }
    }

    /// The same, under `weather`, in which faults of `plan` come and go.
    #[must_use]
    pub fn under(self, weather: &Weather, plan: &[Fault]) -> Self {
        let frames = plan.iter().any(|fault| frames::acts(&fault.kind));
        let storms = plan.iter().any(|fault| matches!(fault.kind, FaultKind::RedeliveryStorm { .. }));
        Self { weather: weather.clone(), frames, storms, ..self }
    }

    /// What everyone lives under.
    #[must_use]
    pub fn weather(&self) -> Weather {
        self.weather.clone()
    }

    /// Whether the plan has redelivery storms.
    #[must_use]
    pub fn has_storms(&self) -> bool {
        self.storms
    }

    /// The same, with channels that are encrypted and prove who is at their ends.
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.pki = Some(Arc::new(Pki::new(Arc::new(SimClock::right()), &self.entropy("world.tls", "", 0))));
        self
    }

    /// With everything that is written to disks or crosses links searched for `canaries`.
    #[must_use]
    pub fn searched(self, canaries: Option<Canaries>) -> Self {
        Self { canaries, ..self }
    }

    /// What the hosts have measured of themselves so far, in all their lives.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let lives = self.lock().iter().map(|(host, hosted)| (host.clone(), hosted.metrics.clone())).collect();
        Measured { lives, traces: self.spans.traces() }
    }

    /// Ends it all, as a kill of every process would: whoever dies from here on writes nothing more.
    pub fn end(&self) {
        self.lock().values().for_each(|hosted| hosted.image.lock().expect("no holder panics").crash());
    }

    /// Searches all disks as they are now.
    pub fn search_disks(&self) {
        let Some(canaries) = &self.canaries else { return };
        for (host, hosted) in &*self.lock() {
            let image = hosted.image.lock().expect("no holder panics");
            for name in image.names() {
                let mut content = vec![0; image.len(name).map_or(0, |len| len as usize)];
                if image.read(name, 0, &mut content).is_ok() {
                    canaries.search("disk", &content, || format!("{name} of {host}"));
                }
            }
        }
    }

    /// The world of `host`, for one life of its process.
    #[must_use]
    pub fn start(&self, host: &str) -> World {
        let mut hosts = self.lock();
        let hosted = self.hosted(&mut hosts, host);
        hosted.starts += 1;
        let epoch = hosted.image.lock().expect("no holder panics").epoch();
        let (weather, gate) = (self.weather.clone(), hosted.gate.clone());
        let host: Arc<str> = host.into();
        let handle = Handle { image: hosted.image.clone(), epoch, host: host.clone(), weather: weather.clone() };
        let told = Told {
            host: host.clone(),
            trace: self.trace.clone(),
            canaries: self.canaries.clone(),
            carried: self.carried.clone(),
        };
        let life = Life::of(&handle, &gate);
        hosted.life = Some(life.clone());
        let mut network: Arc<dyn Network> = Arc::new(SimNetwork { host: host.clone(), life });
        if let Some(pki) = self.pki.as_ref().filter(|_| !OUTSIDE.contains(&&*host)) {
            let tls = Arc::new(Tls::new(network, pki.issue(&host, &self.tls_entropy(&host))));
            hosted.tls = Some(tls.clone());
            network = tls;
        }
        if self.frames {
            let (dice, weather, trace) = (self.dice, weather.clone(), self.trace.clone());
            hosted.poisoned = Arc::default();
            let (host, counts, poisoned) = (host.clone(), hosted.frames.clone(), hosted.poisoned.clone());
            network = Arc::new(Troubled::new(network, Trouble { host, dice, weather, trace, counts, poisoned }));
        }
        let clock = Arc::new(SimClock { host: host.clone(), weather });
        let entropy = Arc::new(self.entropy("world.trace", &host, hosted.starts));
        let monitor = Monitor::new(Arc::default(), Tracer::new(clock.clone(), entropy, 1.0, Some(self.spans.clone())));
        hosted.metrics.push(monitor.metrics.clone());
        World {
            network: Arc::new(Traced { inner: network, told }),
            disk: Arc::new(SimDisk {
                handle,
                gate,
                host: host.to_string(),
                dice: self.dice,
                sync_ms: self.sync_ms.clone(),
                // Keyed by life and job: a life more or less leaves the other lives' draws alone.
                jobs: Mutex::new(hosted.starts << 32),
                trace: self.trace.clone(),
                canaries: self.canaries.clone(),
            }),
            clock,
            entropy: Arc::new(self.entropy("world.entropy", &host, hosted.starts)),
            monitor,
        }
    }

    /// Renews the certificate of `host` again and again, if channels are encrypted.
    pub async fn keep_certified(&self, host: &str) {
        let Some(pki) = &self.pki else { return std::future::pending().await };
        loop {
            tokio::time::sleep(super::pki::RENEWAL).await;
            if let Some(tls) = self.lock().get(host).and_then(|hosted| hosted.tls.clone()) {
                tls.renew(pki.issue(host, &self.tls_entropy(host)));
            }
        }
    }

    /// Ends when the process of `host` is handed a message that kills it, in the life in which it is called.
    pub async fn poisoned(&self, host: &str) {
        let poisoned = self.lock().get(host).map(|hosted| hosted.poisoned.clone());
        match poisoned {
            Some(poisoned) => poisoned.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Keys by host and time: a life more or less leaves the others' alone.
    fn tls_entropy(&self, host: &str) -> SimEntropy {
        self.entropy("world.tls", host, now().as_millis() as u64 + 1)
    }

    fn entropy(&self, stream: &str, host: &str, counter: u64) -> SimEntropy {
        let rng = |dice: &Dice| Mutex::new(dice.rng(stream, host, counter));
        SimEntropy { rng: rng(&self.dice), later: self.dice.later().map(|(from, dice)| (from, rng(&dice))) }
    }

    /// How many commits were torn, over all hosts.
    #[must_use]
    pub fn disk_torn(&self) -> u64 {
        self.lock().values().map(|hosted| hosted.image.lock().expect("no holder panics").torn()).sum()
    }

    /// How many operations full and failing disks have refused, over all hosts.
    #[must_use]
    pub fn disk_refused(&self) -> u64 {
        self.lock().values().map(|hosted| hosted.image.lock().expect("no holder panics").refused()).sum()
    }

    /// What there is of `host`, from its first mention on.
    fn hosted<'h>(&self, hosts: &'h mut BTreeMap<String, Hosted>, host: &str) -> &'h mut Hosted {
        hosts.entry(host.to_owned()).or_insert_with(|| {
            let mut image = DiskImage::new();
            image.lying_sync = self.lying_sync;
            let (image, life, tls) = (Arc::new(Mutex::new(image)), None, None);
            let (metrics, gate, frames, poisoned) = Default::default();
            Hosted { image, starts: 0, losses: 0, rots: 0, tears: 0, metrics, tls, life, gate, frames, poisoned }
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Hosted>> {
        self.hosts.lock().expect("no holder panics")
    }
}

impl Machines for Worlds {
    fn before_crash(&mut self, host: &str) -> u64 {
        let hosts = self.lock();
        let Some(hosted) = hosts.get(host) else { return 0 };
        hosted.image.lock().expect("no holder panics").crash();
        hosted.life.as_ref().map_or(0, Life::open)
    }

    fn power_loss(&mut self, host: &str, now: Duration) -> u64 {
        let mut hosts = self.lock();
        let Some(hosted) = hosts.get_mut(host) else { return 0 };
        hosted.losses += 1;
        // A dice of the host's own: which sectors survive on one host says nothing about another.
        let dice = self.dice.of("world.power_loss", host, hosted.losses).at(now);
        hosted.image.lock().expect("no holder panics").power_loss(&dice, hosted.losses).bytes_lost
    }

    fn set_disk(&mut self, host: &str, state: DiskState) {
        let mut hosts = self.lock();
        let hosted = self.hosted(&mut hosts, host);
        let mut image = hosted.image.lock().expect("no holder panics");
        hosted.tears += u64::from(state.tearing && !image.state().tearing);
        image.set_state(state, &self.dice.of("world.torn", host, hosted.tears));
    }

    fn rot(&mut self, host: &str, now: Duration) -> BTreeSet<Flip> {
        let mut hosts = self.lock();
        let Some(hosted) = hosts.get_mut(host) else { return BTreeSet::new() };
        hosted.rots += 1;
        let dice = self.dice.of("world.rot", host, hosted.rots).at(now);
        hosted.image.lock().expect("no holder panics").rot(&dice, hosted.rots)
    }

    fn reset(&mut self, a: &str, b: &str) -> u64 {
        let hosts = self.lock();
        let broken = |host: &str, peer: &str| Some(hosts.get(host)?.life.as_ref()?.reset(peer));
        let (there, back) = (broken(a, b).unwrap_or(0), broken(b, a).unwrap_or(0));
        there.max(back)
    }

    fn resume(&mut self, host: &str) {
        if let Some(hosted) = self.lock().get(host) {
            hosted.gate.open();
        }
    }
}

/// A process's hold on its disk: void once the process has died.
#[derive(Clone)]
pub(super) struct Handle {
    image: Arc<Mutex<DiskImage>>,
    epoch: u64,
    host: Arc<str>,
    weather: Weather,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut DiskImage) -> io::Result<T>) -> io::Result<T> {
        let mut image = self.image.lock().expect("no holder panics");
        if image.epoch() != self.epoch {
            return Err(io::Error::other("the process that opened this file is dead"));
        }
        let (refused, torn) = (image.refused(), image.torn());
        let done = act(&mut image);
        if image.torn() > torn {
            self.weather.felt(&self.host, &["disk_torn_write"]);
        } else if image.refused() > refused {
            self.weather.felt(&self.host, &[if image.state().failing { "disk_error" } else { "disk_full" }]);
        }
        done
    }

    /// Whether the process lives.
    pub(super) fn is_live(&self) -> bool {
        self.image.lock().expect("no holder panics").epoch() == self.epoch
    }

    /// Whether the process is stopped.
    pub(super) fn is_paused(&self) -> bool {
        self.weather.is_paused(&self.host)
    }

    /// The process puts something on its wire to `peer`.
    pub(super) fn sends(&self, peer: &str) {
        self.weather.sent(&self.host, peer);
    }
}

struct SimDisk {
    handle: Handle,
    gate: Gate,
    host: String,
    dice: Dice,
    sync_ms: std::ops::RangeInclusive<u64>,
    jobs: Mutex<u64>,
    trace: Trace,
    canaries: Option<Canaries>,
}

#[async_trait]
impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.handle.with(|image| image.create(name))?;
        let (handle, canaries) = (self.handle.clone(), self.canaries.clone());
        Ok(Box::new(SimFile { handle, name: name.into(), canaries }))
    }

    /// The job's writes and syncs reach the image at once, but count as durable only after the virtual sync time: a
    /// power loss in between meets them unsynced, and a disk that begins to fail in between fails the job.
    async fn run(&self, job: Job) -> io::Result<()> {
        self.gate.pass(&self.handle).await;
        job();
        let counter = {
            let mut jobs = self.jobs.lock().expect("no holder panics");
            *jobs += 1;
            *jobs
        };
        let (pending, slow_ms) = self.handle.with(|image| Ok((image.pending_bytes(), image.state().sync_ms)))?;
        let drawn_ms = self.dice.range("world.sync", &self.host, counter, self.sync_ms.clone());
        let ms = slow_ms.unwrap_or(drawn_ms);
        if ms > drawn_ms {
            self.handle.weather.felt(&self.host, &["disk_slow"]);
        }
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let torn = self.handle.with(|image| Ok(image.torn()))?;
        if let Err(error) = self.handle.with(DiskImage::promote_all) {
            if self.handle.with(|image| Ok(image.torn()))? > torn {
                self.trace.record(now(), &self.host, "disk.torn", &format!("{pending} bytes after {ms} ms"));
            }
            return Err(error);
        }
        self.trace.record(now(), &self.host, "disk.synced", &format!("{pending} bytes in {ms} ms"));
        // The disk did it; a process that was stopped meanwhile learns of it when it goes on.
        self.gate.pass(&self.handle).await;
        Ok(())
    }
}

struct SimFile {
    handle: Handle,
    name: String,
    canaries: Option<Canaries>,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.name)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.handle.with(|image| image.len(&self.name))
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.handle.with(|image| {
            if image.is_rotten(&self.name, offset, out.len()) {
                self.handle.weather.felt(&self.handle.host, &["bit_rot"]);
            }
            image.read(&self.name, offset, out)
        })
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(canaries) = &self.canaries {
            canaries.search("disk", data, || format!("a write to {}", self.name));
        }
        self.handle.with(|image| image.write(&self.name, offset, data))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.handle.with(|image| image.set_len(&self.name, len))
    }
    fn sync(&self) -> io::Result<()> {
        self.handle.with(|image| image.sync(&self.name))
    }
}

/// A host's clock, which may be off.
pub struct SimClock {
    host: Arc<str>,
    weather: Weather,
}

impl SimClock {
    /// A clock that is never off.
    #[must_use]
    pub fn right() -> Self {
        Self { host: "".into(), weather: Weather::default() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let right = Timestamp::try_from(epoch() + now()).expect("simulated time is a few minutes long");
        let offset = SignedDuration::from_millis(self.weather.clock_offset_ms(&self.host, now()));
        right + offset
    }
}

struct SimEntropy {
    rng: Mutex<ChaCha8Rng>,
    /// Where the future is drawn anew, what is drawn from then on.
    later: Option<(Duration, Mutex<ChaCha8Rng>)>,
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        let later = self.later.as_ref().filter(|(from, _)| now() >= *from).map(|(_, rng)| rng);
        later.unwrap_or(&self.rng).lock().expect("no holder panics").fill_bytes(out);
    }
}

pub(super) fn host_and_port(address: &str) -> io::Result<(&str, u16)> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is not host:port")))
}

/// A network whose every connection, and every chunk of its channels, goes into the trace.
struct Traced {
    inner: Arc<dyn Network>,
    told: Told,
}

/// Who tells what of a host's channels, and what is searched for in them.
#[derive(Clone)]
struct Told {
    host: Arc<str>,
    trace: Trace,
    canaries: Option<Canaries>,
    carried: Carried,
}

impl Traced {
    fn listener(&self, inner: Box<dyn Listener>) -> Box<dyn Listener> {
        Box::new(TracedListener { inner, told: self.told.clone() })
    }

    fn connected(&self, address: &str, opened: io::Result<Channel>) -> io::Result<Channel> {
        let (peer, _) = host_and_port(address)?;
        let told = opened.as_ref().err().map_or("opened".into(), |error| format!("refused: {error}"));
        self.told.trace.record(now(), &self.told.host, "net.connect", &format!("{peer} {told}"));
        Ok(traced(opened?, peer, &self.told))
    }
}

#[async_trait]
impl Network for Traced {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(self.listener(self.inner.bind(address).await?))
    }

    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(self.listener(self.inner.bind_public(address).await?))
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.connected(address, self.inner.connect(address, server).await)
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        let opened = self.inner.connect_outside(address).await.map(Channel::plain);
        Ok(self.connected(address, opened)?.stream)
    }
}

struct TracedListener {
    inner: Box<dyn Listener>,
    told: Told,
}

#[async_trait]
impl Listener for TracedListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let incoming = self.inner.accept().await?;
        let (peer, teller) = (incoming.peer.clone(), self.told.clone());
        Ok(Incoming::new(peer.clone(), async move {
            let opened = incoming.open().await;
            let told = opened.as_ref().err().map_or("opened".into(), |error| format!("refused: {error}"));
            teller.trace.record(now(), &teller.host, "net.accept", &format!("{peer} {told}"));
            Ok(traced(opened?, &peer, &teller))
        }))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

fn traced(channel: Channel, peer: &str, told: &Told) -> Channel {
    let (inner, told) = (channel.stream, told.clone());
    let stream = Box::new(Watched { inner, peer: peer.into(), told, tails: Default::default() });
    Channel { stream, ..channel }
}

/// A stream whose every chunk goes into the trace, and is searched: in clear, also where it is encrypted further out.
struct Watched {
    inner: BoxStream,
    peer: Arc<str>,
    told: Told,
    /// The ends of what went out and came in last.
    tails: [Tail; 2],
}

impl Watched {
    /// Searches a chunk. Only on their own way to the producer may operators' secrets be in clear; never on the way back.
    fn search(&mut self, out: bool, chunk: &[u8]) {
        let Told { host, canaries: Some(canaries), .. } = &self.told else { return };
        let own = if out { &**host == operators::HOST } else { &*self.peer == operators::HOST };
        let place = if own { OPERATORS_HOP } else { "wire" };
        let peer = &self.peer;
        canaries.search_chunk(place, &mut self.tails[usize::from(out)], chunk, || format!("{host} {peer} out: {out}"));
    }

    fn record(&self, kind: &'static str, chunk: &[u8]) {
        let hash = Sha256::digest(chunk);
        let hash = hex::encode(&hash[..8]);
        if kind == "net.out" {
            self.told.carried.note(&self.peer, chunk, &hash);
        }
        let detail = format!("{} {} bytes {hash}", self.peer, chunk.len());
        self.told.trace.record(now(), &self.told.host, kind, &detail);
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.record("net.in", &buf.filled()[before..]);
        self.search(false, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
        self.record("net.out", &data[..written]);
        self.search(true, &data[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "world_tls_tests.rs"]
mod tls_tests;
