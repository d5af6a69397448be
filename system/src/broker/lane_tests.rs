//! Stories of lanes: what goes out when, whatever comes back.

use super::*;
use crate::broker::Ending;

struct World {
    lanes: Lanes,
    now: Instant,
    tokens: u64,
    sequence: u64,
}

fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn done(count: usize) -> Settlement {
    Settlement { ended: vec![Ending::Done; count], ..Settlement::default() }
}

impl World {
    fn new(limits: Limits) -> Self {
        Self { lanes: Lanes::new(limits, 1), now: Instant::now(), tokens: 0, sequence: 0 }
    }

    fn push(&mut self, name: &str, bytes: usize) {
        self.sequence += 1;
        let envelope = Envelope { body: vec![b'x'; bytes].into(), grant: "".into(), trace: None };
        let id = MessageId::parse(&format!("m-{}", self.sequence)).unwrap();
        let message = Queued { sequence: self.sequence, ..Queued::new(Key::default(), [0; 32], id, 0, envelope) };
        self.lanes.push(&tenant(name), message);
    }

    fn lease_all(&mut self, max: usize) -> (Vec<Delivery>, Vec<Exhausted>) {
        let tokens = &mut self.tokens;
        self.lanes.lease(max, self.now, 0, || {
            *tokens += 1;
            *tokens
        })
    }

    fn lease(&mut self, max: usize) -> Vec<Delivery> {
        let (deliveries, exhausted) = self.lease_all(max);
        assert!(exhausted.is_empty(), "{exhausted:?}");
        deliveries
    }

    fn told(&mut self, max: usize) -> Vec<String> {
        let told = |delivery: &Delivery| format!("{} {}", delivery.lease.tenant, delivery.messages.len());
        self.lease(max).iter().map(told).collect()
    }

    /// Lets the lease that is out run out, and the pause after it.
    fn run_out(&mut self) {
        self.now += Limits::default().lease;
        assert!(self.lease(9).is_empty());
        self.now += Limits::default().backoff_max * 2;
    }

    fn settle(&mut self, lease: &Lease, settlement: &Settlement) -> bool {
        self.lanes.settle(lease, settlement, self.now).is_some()
    }
}

#[test]
fn a_turn_is_worth_the_same_for_many_small_messages_and_few_large_ones() {
    let mut world = World::new(Limits { bytes_max: usize::MAX, ..Limits::default() });
    for _ in 0..600 {
        world.push("small", 500);
    }
    for _ in 0..60 {
        world.push("large", 30_000);
    }
    let (mut bytes, mut cost) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..8 {
        for delivery in world.lease(9999) {
            let size: usize = delivery.messages.iter().map(|message| message.envelope.body.len()).sum();
            let name = delivery.lease.tenant.to_string();
            *bytes.entry(name.clone()).or_insert(0) += size;
            *cost.entry(name).or_insert(0) += size + MESSAGE_COST * delivery.messages.len();
            assert!(world.settle(&delivery.lease, &done(delivery.messages.len())));
        }
    }
    let ratio = f64::from(cost["small"] as u32) / f64::from(cost["large"] as u32);
    assert!((0.8..1.25).contains(&ratio), "{cost:?}, {bytes:?}");
}

#[test]
fn however_many_wait_a_fetch_fits_a_frame_and_a_run_is_bounded() {
    let mut world = World::new(Limits { bytes_max: usize::MAX, ..Limits::default() });
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        for _ in 0..3 {
            world.push(name, MAX_BODY_BYTES);
        }
    }
    let fetched = world.lease(9999);
    let bytes: usize =
        fetched.iter().flat_map(|delivery| &delivery.messages).map(|message| message.envelope.body.len()).sum();
    assert!(bytes <= FETCH_BYTES_MAX && fetched.len() >= 7, "{bytes} bytes in {} runs", fetched.len());
    let mut world = World::new(Limits::default());
    for _ in 0..100 {
        world.push("acme", 1);
    }
    assert_eq!(world.told(9999), [format!("acme {RUN_MAX}")]);
}

#[test]
fn a_census_finds_every_message_in_the_class_of_its_lane() {
    let mut world = World::new(Limits::default());
    for name in ["out", "resting", "ready", "ready-2", "paused"] {
        world.push(name, 1);
    }
    world.push("out", 1);
    world.lanes.pause(&tenant("paused"), true);
    let leased = world.lease(3);
    let resting = &leased.iter().find(|delivery| delivery.lease.tenant == tenant("resting")).unwrap().lease.clone();
    assert!(world.settle(resting, &Settlement::again("later")));
    let [ready, out, resting, paused] = world.lanes.census();
    let counted = [ready, out, resting, paused].map(|counted| (counted.lanes, counted.messages));
    assert_eq!(counted, [(2, 2), (1, 2), (1, 1), (1, 1)]);
    assert_eq!(ready.oldest_unix_ms, Some(0));
    assert_eq!(Lanes::new(Limits::default(), 1).census(), [Counted::default(); 4]);
}

#[test]
fn retries_pause_longer_and_longer_up_to_a_bound() {
    let mut world = World::new(Limits::default());
    world.push("acme", 1);
    for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
        let delivery = world.lease(1).remove(0);
        assert!(world.settle(&delivery.lease, &Settlement::again("down")));
        let pause = world.lanes.next_change().expect("a pause") - world.now;
        let expected = Duration::from_millis(expected);
        assert!(pause >= expected && pause <= expected.mul_f64(1.5), "{pause:?} instead of {expected:?}");
        assert!(world.told(1).is_empty());
        world.now += pause;
    }
}

#[test]
fn no_consumer_can_put_a_lane_to_sleep_for_longer_than_a_bound() {
    let mut world = World::new(Limits::default());
    world.push("acme", 1);
    let delivery = world.lease(1).remove(0);
    let again = Again { reason: "a long time".into(), after_ms: Some(u64::MAX) };
    assert!(world.settle(&delivery.lease, &Settlement { ended: Vec::new(), again }));
    assert_eq!(world.lanes.next_change(), Some(world.now + AGAIN_AFTER_MAX));
}

#[test]
fn what_may_have_killed_a_consumer_takes_no_other_tenants_messages_with_it() {
    let limits = Limits::default();
    let mut world = World::new(limits);
    for name in ["killer", "victim", "other"] {
        world.push(name, 1);
    }
    assert_eq!(world.lease(9).len(), 3, "all were out when the consumer died");
    world.now += limits.lease;
    assert!(world.told(9).is_empty(), "they went out again at once");
    world.push("fresh", 1);
    let mut fetches = Vec::new();
    world.now += limits.backoff_min * 2;
    for _ in 0..4 {
        fetches.push(world.told(9));
    }
    fetches.sort();
    assert_eq!(fetches, [["fresh 1"], ["killer 1"], ["other 1"], ["victim 1"]]);
}

#[test]
fn a_run_that_is_being_settled_can_not_be_settled_once_more() {
    let mut world = World::new(Limits::default());
    world.push("acme", 1);
    world.push("acme", 1);
    let delivery = world.lease(1).remove(0);
    let held = world.lanes.hold(&delivery.lease, 1, world.now).unwrap();
    assert!(world.lanes.hold(&delivery.lease, 1, world.now).is_none());
    assert!(!world.settle(&delivery.lease, &done(1)));
    world.lanes.finish(&delivery.lease, &done(1), &held, world.now);
    assert_eq!(world.lanes.total(), 1);
}

#[test]
fn after_a_silence_messages_go_alone_and_only_the_one_that_kills_is_given_up() {
    let limits = Limits { silent_deliveries_max: 3, ..Limits::default() };
    let mut world = World::new(limits);
    for _ in 0..3 {
        world.push("acme", 1);
    }
    // All three were out when the consumer died.
    assert_eq!(world.told(9), ["acme 3"]);
    for _ in 0..2 {
        world.run_out();
        assert_eq!(world.told(9), ["acme 1"]);
    }
    world.run_out();
    let (deliveries, exhausted) = world.lease_all(9);
    assert!(deliveries.is_empty());
    assert_eq!(exhausted[0].deliveries, 3);
    assert!(world.settle(&exhausted[0].lease, &done(1)));
    // Innocent, and alone until someone says a word.
    let second = world.lease(9).remove(0);
    assert_eq!((second.messages.len(), second.messages[0].attempt), (1, 2));
    assert!(world.settle(&second.lease, &done(1)));
}

#[test]
fn a_word_ends_a_row_of_silences() {
    let limits = Limits { silent_deliveries_max: 2, ..Limits::default() };
    let mut world = World::new(limits);
    world.push("acme", 1);
    for _ in 0..9 {
        assert_eq!(world.told(1), ["acme 1"]);
        world.run_out();
        let delivery = world.lease(1).remove(0);
        assert!(world.settle(&delivery.lease, &Settlement::again("down")));
        world.now += limits.backoff_max * 2;
    }
}

#[test]
fn a_delivery_that_is_out_while_the_one_before_is_put_on_record_comes_again_under_its_number_after_a_crash() {
    let mut world = World::new(Limits::default());
    world.push("acme", 1);
    let delivery = world.lease(1).remove(0);
    assert!(world.settle(&delivery.lease, &Settlement::again("down")));
    world.now += Limits::default().backoff_max;
    let again = world.lease(1).remove(0);
    assert_eq!(again.messages[0].attempt, 2);
    let (_, (ended, _)) = world.lanes.take_news().pop().unwrap();
    assert_eq!((ended, world.lanes.take_happened(1).len()), (1, 2), "one delivery, and its return");
    assert!(world.settle(&again.lease, &Settlement::again("down")));
    let (_, (ended, _)) = world.lanes.take_news().pop().unwrap();
    assert_eq!((ended, world.lanes.take_happened(1).len()), (2, 2));
}

#[test]
fn every_way_back_is_on_record() {
    let limits = Limits::default();
    let mut world = World::new(limits);
    world.push("acme", 1);
    let delivery = world.lease(1).remove(0);
    assert!(world.settle(&delivery.lease, &Settlement::again("down")));
    world.now += limits.backoff_max;
    assert_eq!(world.told(1), ["acme 1"]);
    world.run_out();
    let delivery = world.lease(1).remove(0);
    let (_, (_, attempts)) = world.lanes.take_news().pop().unwrap();
    let ends: Vec<_> = attempts.into_iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Again("down".into()), AttemptEnd::Silent]);
    let held = world.lanes.hold(&delivery.lease, 1, world.now).unwrap();
    assert_eq!(held[0].dead_letter(1, "poison", 7).attempts.len(), 2);
}

#[test]
fn a_held_run_outlasts_its_lease() {
    let mut world = World::new(Limits::default());
    world.push("acme", 1);
    let delivery = world.lease(1).remove(0);
    let held = world.lanes.hold(&delivery.lease, 1, world.now).unwrap();
    world.now += Limits::default().lease * 9;
    assert!(world.told(1).is_empty());
    world.lanes.finish(&delivery.lease, &done(1), &held, world.now);
    assert_eq!(world.lanes.total(), 0);
}

#[test]
fn a_flood_fills_its_own_lane_and_a_full_house_still_takes_in_the_quiet() {
    let limits =
        Limits { depth_max: 50, bytes_max: 1000, total_bytes_max: 1500, depth_reserved: 2, ..Limits::default() };
    let mut world = World::new(limits);
    for _ in 0..10 {
        world.push("flood", 100);
    }
    assert!(world.lanes.is_full(&tenant("flood"), 0, 0));
    assert!(!world.lanes.is_full(&tenant("other"), 0, 0));
    for _ in 0..5 {
        world.push("other", 100);
    }
    assert!(world.lanes.is_full(&tenant("other"), 0, 0), "all memory is taken");
    assert!(!world.lanes.is_full(&tenant("quiet"), 1, 100));
    assert!(world.lanes.is_full(&tenant("quiet"), 2, 200));
    let few = Limits { depth_max: 2, ..Limits::default() };
    let mut world = World::new(few);
    world.push("acme", 1);
    assert!(!world.lanes.is_full(&tenant("acme"), 0, 0));
    assert!(world.lanes.is_full(&tenant("acme"), 1, 1));
}

#[test]
fn what_waits_is_counted_right_whatever_happens() {
    let mut world = World::new(Limits::default());
    for name in ["a", "b", "a", "b", "a"] {
        world.push(name, 10);
    }
    let runs = world.lease(9);
    assert_eq!(runs.len(), 2);
    let half = Settlement { ended: vec![Ending::Done], again: Again::default() };
    assert!(world.settle(&runs[0].lease, &half));
    world.lanes.pause(&tenant("b"), true);
    assert!(!world.settle(&runs[1].lease, &done(2)));
    assert_eq!((world.lanes.total(), world.lanes.total_bytes), (4, 40));
    world.lanes.forget(&tenant("b"), &[2, 4]);
    assert_eq!((world.lanes.total(), world.lanes.total_bytes), (2, 20));
    world.lanes.pause(&tenant("b"), false);
    world.now += Limits::default().backoff_max;
    assert_eq!(world.told(9), ["a 2"]);
}
