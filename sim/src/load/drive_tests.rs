//! The driver against targets without a network, on a clock that tokio moves.

use super::*;

/// A server that answers each request after 2 ms, and none between its first and second second.
struct Stalls {
    begun: Instant,
    from: Duration,
    to: Duration,
    /// Requests at once, at most.
    busiest: AtomicU64,
    busy: AtomicU64,
}

const SERVICE: Duration = Duration::from_millis(2);

#[async_trait]
impl Target for Stalls {
    async fn send(&self, _: &Shot, _: Duration) -> Reply {
        let busy = self.busy.fetch_add(1, Relaxed) + 1;
        self.busiest.fetch_max(busy, Relaxed);
        sleep(SERVICE).await;
        let at = self.begun.elapsed();
        if at >= self.from && at < self.to {
            sleep(self.to - at).await;
        }
        self.busy.fetch_sub(1, Relaxed);
        Reply::Confirmed
    }

    async fn outcome(&self, _: &Shot, _: Duration) -> Told {
        Told::Applied
    }
}

fn shots(every: Duration, count: u32) -> Arc<[Shot]> {
    let shot = |index: u32| Shot {
        intended: every * index,
        message_id: format!("m-{index}"),
        operator: "ana".into(),
        tenant: "acme".into(),
        action: "issue_credit",
        body: String::new(),
        allowed: true,
        followed: true,
    };
    (0..count).map(shot).collect()
}

async fn driven(target: Arc<dyn Target>, shots: &Arc<[Shot]>, limits: Limits, begun: Instant) -> Driven {
    drive(target, shots.clone(), limits, begun, Arc::default(), CancellationToken::new()).await
}

fn p99_ms(shots: &[Shot], samples: &[Sample], length: impl Fn(&Shot, &Sample) -> Duration) -> u64 {
    let mut latency = WallLatency::new();
    samples.iter().for_each(|sample| latency.record(length(&shots[sample.shot], sample)));
    latency.at(0.99).unwrap().0 / 1000
}

#[tokio::test(start_paused = true)]
async fn a_stall_shows_in_the_total_of_all_who_waited_behind_it_and_not_in_the_service_time() {
    let begun = Instant::now();
    let (from, to) = (Duration::from_secs(1), Duration::from_secs(2));
    let server = Arc::new(Stalls { begun, from, to, busiest: AtomicU64::new(0), busy: AtomicU64::new(0) });
    // 100 a second over 10 s; four at once are plenty, but for the stall.
    let shots = shots(Duration::from_millis(10), 1_000);
    let limits = Limits { in_flight_max: 4, deadline: Duration::from_secs(10) };
    let driven = driven(server.clone(), &shots, limits, begun).await;
    assert_eq!(driven.samples.len(), 1_000, "nothing is left out");
    assert_eq!(server.busiest.load(Relaxed), 4);
    let total = p99_ms(&shots, &driven.samples, |shot, sample| sample.ended - shot.intended);
    let service = p99_ms(&shots, &driven.samples, |_, sample| sample.ended - sample.sent.unwrap());
    let delay = p99_ms(&shots, &driven.samples, |shot, sample| sample.sent.unwrap() - shot.intended);
    assert!(total > 850, "the stall took a second from one in ten: the total's p99 is {total} ms");
    assert!(service < 10, "only four of a thousand were on their way: {service} ms");
    assert!(delay > 850, "the rest waited for a free place: {delay} ms");
    assert!((90..115).contains(&driven.waited_for_slot), "{}", driven.waited_for_slot);
}

#[tokio::test(start_paused = true)]
async fn commands_are_sent_at_their_times_however_slow_the_answers() {
    let begun = Instant::now();
    let (from, to) = (Duration::ZERO, Duration::from_secs(5));
    let server = Arc::new(Stalls { begun, from, to, busiest: AtomicU64::new(0), busy: AtomicU64::new(0) });
    let shots = shots(Duration::from_millis(5), 400);
    let limits = Limits { in_flight_max: 1_000, deadline: Duration::from_secs(10) };
    let driven = driven(server, &shots, limits, begun).await;
    for sample in &driven.samples {
        let late = sample.sent.unwrap() - shots[sample.shot].intended;
        assert!(late <= Duration::from_millis(1), "{} was sent {late:?} late", sample.shot);
    }
    assert_eq!(driven.waited_for_slot, 0);
}

/// Nobody.
struct Silent;

#[async_trait]
impl Target for Silent {
    async fn send(&self, _: &Shot, wait: Duration) -> Reply {
        sleep(wait.min(Duration::from_millis(100))).await;
        Reply::Again
    }

    async fn outcome(&self, _: &Shot, _: Duration) -> Told {
        Told::Unknown
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_never_answers_is_given_up_and_counts() {
    let shots = shots(Duration::from_millis(100), 30);
    let limits = Limits { in_flight_max: 2, deadline: Duration::from_secs(1) };
    let driven = driven(Arc::new(Silent), &shots, limits, Instant::now()).await;
    assert_eq!(driven.samples.len(), 30);
    for sample in &driven.samples {
        assert_eq!(sample.end, Reply::Again);
        assert!(sample.ended - shots[sample.shot].intended >= limits.deadline, "{sample:?}");
    }
    assert!(driven.samples[0].resent > 2, "{:?}", driven.samples[0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_it_at_once_and_keeps_what_was_answered() {
    let shots = shots(Duration::from_millis(100), 1_000);
    let begun = Instant::now();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(1_050)).await;
        stopping.cancel();
    });
    let nobody = Duration::from_secs(1_000);
    let server = Stalls { begun, from: nobody, to: nobody, busiest: AtomicU64::new(0), busy: AtomicU64::new(0) };
    let limits = Limits { in_flight_max: 2, deadline: Duration::from_secs(1) };
    let driven = drive(Arc::new(server), shots, limits, begun, Arc::default(), stop).await;
    assert_eq!((driven.samples.len(), driven.stopped), (11, true));
    assert!(begun.elapsed() < Duration::from_secs(3));
}
