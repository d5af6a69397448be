//! Two tiny hosts that say "ping" and "pong", and what each fault does to them.

use std::cell::RefCell;
use std::time::UNIX_EPOCH;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

use super::*;
use crate::engine::fault::{FaultKind, When};
use crate::engine::trace::TraceEntry;

const PORT: u16 = 7;

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn settings(seed: u64) -> Settings {
    let (epoch, weather) = (UNIX_EPOCH + ms(1_700_000_000_000), Weather::default());
    Settings { seed, tick_ms: 1, latency_ms: 1..=4, limit: ms(1000), epoch, weather }
}

fn host(name: &str, start: impl Fn() -> Software + 'static) -> Host {
    Host { name: name.to_owned(), start: Box::new(start) }
}

async fn echo() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            while let Ok(byte) = stream.read_u8().await {
                if stream.write_u8(byte).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn ask(byte: u8) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(("server", PORT)).await?;
    stream.write_u8(byte).await?;
    stream.read_u8().await
}

/// Asks every 20 ms over a new connection, waits 15 ms for each answer, and traces how it went.
async fn keep_asking(trace: Trace) -> Result<(), Box<dyn Error>> {
    for byte in 0.. {
        let kind = match timeout(ms(15), ask(byte)).await {
            Ok(Ok(answer)) if answer == byte => "answered",
            Ok(Ok(_)) => "garbled",
            Ok(Err(_)) => "refused",
            Err(_) => "silence",
        };
        trace.record(turmoil::sim_elapsed().unwrap_or_default(), "client", kind, &byte.to_string());
        sleep(ms(20)).await;
    }
    Ok(())
}

fn pair(trace: &Trace) -> Vec<Host> {
    let trace = trace.clone();
    let client = host("client", move || Box::pin(keep_asking(trace.clone())));
    vec![client, host("server", || Box::pin(echo()))]
}

/// Remembers what it was told, and pretends to lose five bytes at each power loss and a bit of the server's to rot.
#[derive(Default)]
struct Log(RefCell<Vec<String>>);

impl Machines for Log {
    fn before_crash(&mut self, host: &str) -> u64 {
        self.0.borrow_mut().push(format!("poison {host}"));
        1
    }

    fn power_loss(&mut self, host: &str, _: Duration) -> u64 {
        self.0.borrow_mut().push(format!("dark {host}"));
        5
    }

    fn set_disk(&mut self, host: &str, state: DiskState) {
        let how = if state == DiskState::default() { "sound" } else { "full" };
        self.0.borrow_mut().push(format!("{how} {host}"));
    }

    fn rot(&mut self, host: &str, _: Duration) -> BTreeSet<Flip> {
        // The client's disk is empty.
        let flip = Flip { file: "x".into(), offset: 9, bit: 1 };
        if host == "client" { BTreeSet::new() } else { BTreeSet::from([flip]) }
    }

    fn reset(&mut self, a: &str, b: &str) -> u64 {
        self.0.borrow_mut().push(format!("reset {a} {b}"));
        1
    }

    fn resume(&mut self, host: &str) {
        self.0.borrow_mut().push(format!("resume {host}"));
    }
}

fn fault(at: u64, for_: u64, kind: FaultKind) -> Fault {
    Fault { at: ms(at), for_: ms(for_), kind, when: None }
}

fn partition() -> FaultKind {
    FaultKind::Partition { a: "client".into(), b: "server".into() }
}

/// Runs the pair for 400 ms with faults healed by 300 and returns the trace and the simulation.
fn run(seed: u64, faults: &[Fault]) -> (Trace, Simulation, Log) {
    let trace = Trace::new(true);
    let (mut simulation, mut log) = (Simulation::new(&settings(seed), pair(&trace)), Log::default());
    let end = simulation.run(faults, &mut log, &trace, ms(300), &mut |now, _| now >= ms(400));
    assert_eq!(end, Ok(RunEnd::Done), "seed {seed}");
    (trace, simulation, log)
}

/// Kinds of the client's events that fell into a stretch of virtual milliseconds, without repetitions.
fn heard(trace: &Trace, from: u64, to: u64) -> Vec<&'static str> {
    let within = |at_us: u64| (from * 1000..to * 1000).contains(&at_us);
    let mut kinds: Vec<_> = trace
        .entries()
        .into_iter()
        .filter(|entry| entry.host == "client" && within(entry.at_us) && !entry.kind.starts_with("fault"))
        .map(|entry| entry.kind)
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn without_faults_every_question_is_answered() {
    let (trace, simulation, _) = run(1, &[]);
    assert_eq!(heard(&trace, 0, 400), ["answered"]);
    assert!(simulation.fired().is_empty());
}

#[test]
fn one_seed_gives_one_digest_and_another_seed_another() {
    let faults = [fault(50, 60, partition()), fault(150, 30, FaultKind::PowerLoss { host: "server".into() })];
    for seed in 0..5 {
        let (first, second) = (run(seed, &faults).0, run(seed, &faults).0);
        assert_eq!(first.entries(), second.entries(), "seed {seed}");
        assert_eq!(first.digest(), second.digest(), "seed {seed}");
    }
    assert_ne!(run(1, &faults).0.digest(), run(2, &faults).0.digest());
}

#[test]
fn a_partition_blocks_and_its_heal_restores() {
    let (trace, simulation, _) = run(1, &[fault(100, 100, partition())]);
    assert_eq!(heard(&trace, 0, 100), ["answered"]);
    assert!(!heard(&trace, 130, 200).contains(&"answered"), "{:?}", heard(&trace, 130, 200));
    assert_eq!(heard(&trace, 250, 400), ["answered"]);
    assert_eq!(simulation.fired(), &BTreeMap::from([("partition", 1)]));
}

#[test]
fn an_overlapping_partition_keeps_the_wire_cut_when_the_first_heals() {
    let (trace, _, _) = run(1, &[fault(100, 50, partition()), fault(120, 100, partition())]);
    assert!(!heard(&trace, 130, 220).contains(&"answered"), "{:?}", heard(&trace, 130, 220));
    assert_eq!(heard(&trace, 260, 400), ["answered"]);
}

#[test]
fn a_oneway_partition_silences_only_the_answers() {
    let kind = FaultKind::PartitionOneway { from: "server".into(), to: "client".into() };
    let (trace, _, _) = run(1, &[fault(100, 100, kind)]);
    assert!(!heard(&trace, 130, 200).contains(&"answered"), "{:?}", heard(&trace, 130, 200));
    assert_eq!(heard(&trace, 250, 400), ["answered"]);
}

#[test]
fn held_messages_arrive_when_the_hold_ends() {
    let trace = Trace::new(true);
    let told = trace.clone();
    let patient = host("client", move || {
        let told = told.clone();
        Box::pin(async move {
            sleep(ms(50)).await;
            let answer = ask(9).await?;
            told.record(turmoil::sim_elapsed().unwrap(), "client", "answered", &answer.to_string());
            Ok(())
        })
    });
    let hosts = vec![patient, host("server", || Box::pin(echo()))];
    let mut simulation = Simulation::new(&settings(1), hosts);
    let hold = fault(40, 100, FaultKind::Hold { a: "client".into(), b: "server".into() });
    let end = simulation.run(&[hold], &mut Log::default(), &trace, ms(300), &mut |now, _| now >= ms(300));
    assert_eq!(end, Ok(RunEnd::Done));
    assert_eq!(heard(&trace, 0, 140), [""; 0]);
    assert_eq!(heard(&trace, 140, 300), ["answered"]);
}

#[test]
fn a_crashed_host_answers_again_after_it_was_started() {
    let (trace, _, log) = run(1, &[fault(100, 100, FaultKind::Crash { host: "server".into() })]);
    assert!(!heard(&trace, 130, 200).contains(&"answered"), "{:?}", heard(&trace, 130, 200));
    assert_eq!(heard(&trace, 260, 400), ["answered"]);
    assert_eq!(*log.0.borrow(), ["poison server"]);
}

#[test]
fn a_bounce_is_over_in_an_instant() {
    let (trace, simulation, log) = run(1, &[fault(100, 0, FaultKind::Bounce { host: "server".into() })]);
    assert_eq!(heard(&trace, 160, 400), ["answered"]);
    assert_eq!(*log.0.borrow(), ["poison server"]);
    assert_eq!(simulation.fired(), &BTreeMap::from([("bounce", 1)]));
}

/// Holds one connection open and traces how it ends.
async fn listen_for_the_end(trace: Trace) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(("server", PORT)).await?;
    stream.write_u8(1).await?;
    stream.read_u8().await?;
    let _ = stream.read_u8().await;
    trace.record(turmoil::sim_elapsed().unwrap_or_default(), "client", "closed", "");
    Ok(())
}

fn closes_after(kind: FaultKind) -> Vec<&'static str> {
    let trace = Trace::new(true);
    let told = trace.clone();
    let client = host("client", move || Box::pin(listen_for_the_end(told.clone())));
    let mut simulation = Simulation::new(&settings(1), vec![client, host("server", || Box::pin(echo()))]);
    let mut log = Log::default();
    let end = simulation.run(&[fault(100, 50, kind)], &mut log, &trace, ms(300), &mut |now, _| now >= ms(300));
    assert_eq!(end, Ok(RunEnd::Done));
    heard(&trace, 0, 300)
}

#[test]
fn a_killed_process_says_goodbye_and_a_host_without_power_does_not() {
    assert_eq!(closes_after(FaultKind::Crash { host: "server".into() }), ["closed"]);
    assert_eq!(closes_after(FaultKind::PowerLoss { host: "server".into() }), [""; 0]);
}

#[test]
fn power_loss_poisons_the_disk_before_it_forgets() {
    let (trace, simulation, log) = run(1, &[fault(100, 50, FaultKind::PowerLoss { host: "server".into() })]);
    assert_eq!(*log.0.borrow(), ["poison server", "dark server"]);
    assert_eq!(simulation.bytes_lost(), 5);
    assert_eq!(heard(&trace, 220, 400), ["answered"]);
    let kinds: Vec<_> = trace.entries().into_iter().filter(|entry| entry.host == "server").map(|e| e.kind).collect();
    assert_eq!(kinds, ["fault.begin", "power.lost", "fault.end"]);
}

#[test]
fn a_disk_fault_begins_and_heals_and_rot_counts_only_where_there_is_something_to_rot() {
    let rot = |at, host: &str| fault(at, 0, FaultKind::BitRot { host: host.into() });
    let full = fault(100, 50, FaultKind::DiskFull { host: "server".into() });
    let (trace, simulation, log) = run(1, &[full, rot(200, "server"), rot(200, "client")]);
    assert_eq!(*log.0.borrow(), ["full server", "sound server"]);
    assert_eq!(simulation.fired(), &BTreeMap::from([("bit_rot", 1), ("disk_full", 1)]));
    let told = |kind| trace.entries().into_iter().filter(move |entry| entry.kind == kind).map(|entry| entry.detail);
    assert_eq!(told("disk.rotted").collect::<Vec<_>>(), ["x byte 9 bit 1"]);
    let begun: Vec<_> = told("fault.begin").collect();
    assert_eq!(begun, ["disk_full server", "bit_rot server", "bit_rot client (changes nothing)"]);
}

/// A client that asks, and a server that dies of itself 50 ms after each start.
fn mortal(trace: &Trace) -> Vec<Host> {
    let mut hosts = pair(trace);
    hosts[1] = host("server", || {
        Box::pin(async {
            let served = tokio::spawn(async { echo().await.is_ok() });
            sleep(ms(50)).await;
            assert!(!served.is_finished(), "the server could not serve");
            Err(Died("out of paper".into()).into())
        })
    });
    hosts
}

fn run_mortal(faults: &[Fault], until: u64) -> (Trace, Simulation, Log) {
    let trace = Trace::new(true);
    let (mut simulation, mut log) = (Simulation::new(&settings(1), mortal(&trace)), Log::default());
    let end = simulation.run(faults, &mut log, &trace, ms(300), &mut |now, _| now >= ms(until));
    assert_eq!(end, Ok(RunEnd::Done));
    (trace, simulation, log)
}

#[test]
fn a_process_that_dies_of_itself_is_killed_and_started_again_after_the_pause_and_the_run_goes_on() {
    let (trace, simulation, log) = run_mortal(&[], 600);
    let deaths: Vec<_> = trace.entries().into_iter().filter(|entry| entry.kind == "host.died").collect();
    assert_eq!((deaths.len(), simulation.deaths()), (3, 3), "at 51, 302 and 553 ms: {deaths:?}");
    assert!(deaths.iter().all(|death| (death.host.as_str(), death.detail.as_str()) == ("server", "out of paper")));
    assert_eq!(simulation.last_death(), Some(&("server".to_owned(), Died("out of paper".into()))));
    assert!(deaths[1].at_us - deaths[0].at_us >= 250_000, "50 ms of life and 200 of pause");
    assert_eq!(*log.0.borrow(), ["poison server"; 3], "its disk was made void each time");
    assert!(!heard(&trace, 80, 240).contains(&"answered"), "{:?}", heard(&trace, 80, 240));
    assert!(heard(&trace, 250, 320).contains(&"answered"), "{:?}", heard(&trace, 250, 320));
}

#[test]
fn a_process_that_died_stays_down_while_a_fault_keeps_its_host_down() {
    let (trace, _, log) = run_mortal(&[fault(60, 220, FaultKind::Crash { host: "server".into() })], 320);
    assert!(!heard(&trace, 80, 270).contains(&"answered"), "{:?}", heard(&trace, 80, 270));
    assert!(heard(&trace, 275, 320).contains(&"answered"), "{:?}", heard(&trace, 275, 320));
    assert_eq!(*log.0.borrow(), ["poison server"], "the crash found nothing to kill");
}

#[test]
fn deaths_come_at_the_same_times_in_every_run_of_a_seed() {
    assert_eq!(run_mortal(&[], 600).0.entries(), run_mortal(&[], 600).0.entries());
}

#[test]
fn what_is_still_open_is_healed_when_the_drain_begins() {
    let (trace, _, _) = run(1, &[fault(100, 10_000, partition())]);
    assert_eq!(heard(&trace, 350, 400), ["answered"]);
}

#[test]
fn the_caller_sees_chaos_first_and_then_the_drain() {
    let trace = Trace::new(false);
    let mut simulation = Simulation::new(&settings(1), pair(&trace));
    let mut phases = Vec::new();
    let mut done = |now, phase| {
        phases.push((now, phase));
        false
    };
    let end = simulation.run(&[], &mut Log::default(), &trace, ms(10), &mut done);
    assert_eq!(end, Ok(RunEnd::OutOfTime));
    assert_eq!(phases.len(), 1000, "one question per millisecond until the limit");
    assert_eq!((phases[9], phases[10]), ((ms(10), Phase::Chaos), (ms(11), Phase::Drain)));
}

fn breaks(software: impl Fn() -> Software + 'static) -> RunError {
    let trace = Trace::new(false);
    let hosts = vec![host("broken", software), host("server", || Box::pin(echo()))];
    let mut simulation = Simulation::new(&settings(1), hosts);
    simulation.run(&[], &mut Log::default(), &trace, ms(10), &mut |_, _| false).unwrap_err()
}

#[test]
fn a_panic_in_a_main_future_or_in_a_spawned_task_names_its_host_and_text() {
    let in_main = breaks(|| Box::pin(async { panic!("limit {} exceeded", 3) }));
    let in_task = breaks(|| {
        Box::pin(async {
            tokio::spawn(async { panic!("limit {} exceeded", 3) });
            std::future::pending().await
        })
    });
    for error in [in_main, in_task] {
        let RunError::Panicked { host, message } = &error else { panic!("expected a panic, got {error}") };
        assert_eq!(host.as_deref(), Some("broken"));
        assert!(message.starts_with("limit 3 exceeded at "), "{message}");
    }
}

#[test]
fn an_error_of_a_main_future_names_its_host_and_its_causes() {
    let error = breaks(|| Box::pin(async { Err(std::io::Error::other("disk is gone").into()) }));
    assert_eq!(error.to_string(), "broken ended with an error: disk is gone");
}

#[test]
fn tasks_live_on_after_their_main_future_has_returned() {
    let trace = Trace::new(true);
    let told = trace.clone();
    let brief = host("client", move || {
        let told = told.clone();
        Box::pin(async move {
            tokio::spawn(async move {
                sleep(ms(50)).await;
                told.record(ms(50), "client", "alive", "");
            });
            Ok(())
        })
    });
    let mut simulation = Simulation::new(&settings(1), vec![brief]);
    simulation.run(&[], &mut Log::default(), &trace, ms(10), &mut |now, _| now >= ms(100)).unwrap();
    assert_eq!(heard(&trace, 0, 100), ["alive"]);
}

#[test]
fn a_fault_on_an_unknown_host_is_refused_before_anything_runs() {
    let trace = Trace::new(false);
    let mut simulation = Simulation::new(&settings(1), pair(&trace));
    let faults = [fault(0, 0, FaultKind::Bounce { host: "sever".into() })];
    let error = simulation.run(&faults, &mut Log::default(), &trace, ms(10), &mut |_, _| true).unwrap_err();
    assert_eq!(error, RunError::UnknownHost { host: "sever".into() });
    assert_eq!(simulation.elapsed(), Duration::ZERO);
}

#[test]
fn a_slow_link_slows_answers_and_is_as_quick_as_before_when_it_heals() {
    let slow = FaultKind::SlowLink { a: "server".into(), b: "client".into(), latency_ms: 60 };
    let answers = |trace: &Trace, from: u64, to: u64| {
        let within = |entry: &TraceEntry| (from * 1000..to * 1000).contains(&entry.at_us);
        trace.entries().iter().filter(|entry| entry.kind == "answered" && within(entry)).count()
    };
    let (trace, ..) = run(3, &[fault(100, 150, slow)]);
    let counts = [(0, 100), (120, 250), (320, 400)].map(|(from, to)| answers(&trace, from, to));
    assert!(counts[0] > 1 && counts[1] == 0 && counts[2] > 1, "{counts:?}");
}

#[test]
fn a_fault_that_waits_for_an_event_begins_after_it_and_one_whose_event_never_comes_does_not_begin() {
    let when = |event: &str| Some(When { event: event.into(), of: None, nth: 4, after_ms: 7 });
    let crash = |event| Fault { when: when(event), ..fault(0, 20, FaultKind::Crash { host: "server".into() }) };
    let (trace, simulation, _) = run(1, &[crash("answered"), crash("asked")]);
    let entries = trace.entries();
    let fourth = entries.iter().filter(|entry| entry.kind == "answered").nth(3).expect("answers").at_us;
    let begun = entries.iter().find(|entry| entry.kind == "fault.begin").expect("it began").at_us;
    assert!((fourth + 7_000..=fourth + 9_000).contains(&begun), "event at {fourth}, fault at {begun}");
    assert_eq!(simulation.fired()["crash"], 1);
    assert_eq!(simulation.effects()["crash"], 1);
}

#[test]
fn a_stopped_host_is_let_go_on_and_connections_are_reset_once() {
    let (a, b) = ("client".to_owned(), "server".to_owned());
    let pause = fault(50, 30, FaultKind::Pause { host: "server".into() });
    let (_, simulation, log) = run(1, &[pause, fault(100, 0, FaultKind::ConnectionReset { a, b })]);
    assert_eq!(*log.0.borrow(), ["resume server", "reset client server"]);
    let fired: Vec<_> = simulation.fired().iter().collect();
    assert_eq!(fired, [(&"connection_reset", &1), (&"pause", &1)]);
    let felt: Vec<_> = simulation.effects().into_iter().collect();
    assert_eq!(felt, [("connection_reset", 1)], "nobody here asked whether it is stopped");
}
