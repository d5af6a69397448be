//! What becomes of samples.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A command each 10 ms; each is sent 1 ms late, confirmed after 4 ms more and known after 5 ms more.
fn load(count: u64, with: impl Fn(u64, &mut Shot, &mut Sample)) -> (Vec<Shot>, Driven) {
    let one = |index: u64| {
        let intended = ms(index * 10);
        let mut shot = Shot {
            intended,
            message_id: format!("m-{index}"),
            operator: "ana".into(),
            tenant: if index.is_multiple_of(2) { "acme" } else { "globex" }.into(),
            action: "issue_credit",
            body: String::new(),
            allowed: true,
            followed: true,
        };
        let mut sample = Sample {
            shot: index as usize,
            sent: Some(intended + ms(1)),
            ended: intended + ms(5),
            end: Reply::Confirmed,
            resent: 0,
            outcome: Some((intended + ms(10), Told::Applied)),
        };
        with(index, &mut shot, &mut sample);
        (shot, sample)
    };
    let (shots, samples) = (0..count).map(one).unzip();
    (shots, Driven { samples, late: WallLatency::new(), waited_for_slot: 0, followed_late: 0, stopped: false })
}

fn sent<'a>(shots: &'a [Shot], driven: &'a Driven, warm_up: u64) -> Sent<'a> {
    let duration = ms(shots.len() as u64 * 10);
    Sent { shots, driven, warm_up: ms(warm_up), duration, processor_share: Some(0.2), in_flight_max: 8 }
}

fn whole(latency: &[WallStageLatency], stage: WallStage) -> &WallStageLatency {
    latency.iter().find(|of| of.stage == stage && of.tenant.is_none() && of.action.is_none()).unwrap()
}

#[test]
fn the_stages_are_kept_apart_and_the_warm_up_is_in_none() {
    let slow_at_first = |index: u64, _: &mut Shot, sample: &mut Sample| {
        if index < 100 {
            sample.ended += ms(700);
        }
    };
    let (shots, driven) = load(500, slow_at_first);
    let sent = sent(&shots, &driven, 1_000);
    let latency = sent.latency();
    for (stage, expected) in
        [(WallStage::Total, 5), (WallStage::ScheduleDelay, 1), (WallStage::ServiceTime, 4), (WallStage::Outcome, 10)]
    {
        let of = whole(&latency, stage);
        assert_eq!(of.summary_wall_us.count, 400, "{stage:?}");
        assert_eq!(of.summary_wall_us.max.unwrap().0 / 1000, expected, "{stage:?}");
    }
    let tenants: Vec<_> = latency.iter().filter(|of| of.tenant.is_some() && of.stage == WallStage::Total).collect();
    assert_eq!(tenants.iter().map(|of| of.summary_wall_us.count).collect::<Vec<_>>(), [200, 200]);
    // The course has it.
    let slowest = sent.series().intervals[0].total_wall_us.max().unwrap();
    assert_eq!(slowest.0 / 1000, 705);
}

#[test]
fn what_was_given_up_counts_and_what_was_refused_does_not() {
    let (shots, driven) = load(300, |index, shot, sample| match index {
        7 => {
            (sample.end, sample.outcome) = (Reply::Again, None);
            sample.ended = shot.intended + ms(10_000);
        }
        8 => (sample.end, sample.outcome) = (Reply::Refused("429 rate-limited".into()), None),
        9 => {
            shot.allowed = false;
            (sample.end, sample.outcome) = (Reply::Refused("403 forbidden".into()), None);
        }
        10 => shot.allowed = false,
        _ => {}
    });
    let sent = sent(&shots, &driven, 0);
    let latency = sent.latency();
    let total = whole(&latency, WallStage::Total).summary_wall_us;
    assert_eq!((total.count, total.max.unwrap().0 / 1_000_000), (298, 10));
    assert_eq!(whole(&latency, WallStage::ServiceTime).summary_wall_us.count, 297);
    let sending = sent.sending();
    assert_eq!((sending.unanswered, sending.refused_rightly, sending.accepted_wrongly), (1, 1, 1));
    assert_eq!(
        sent.refusals().iter().map(|refusal| (&*refusal.reason, refusal.count)).collect::<Vec<_>>(),
        [("429 rate-limited", 1)]
    );
    assert_eq!(sent.commands().accepted, 297);
}

#[test]
fn every_command_is_in_the_course_once_and_so_are_requests_under_way() {
    let (shots, driven) = load(1_000, |index, _, sample| {
        if (500..510).contains(&index) {
            sample.ended = ms(5_100);
            sample.outcome = None;
        }
    });
    let series = sent(&shots, &driven, 0).series();
    assert_eq!(series.interval_ms, WallMs(200));
    assert_eq!(series.intervals.iter().map(|of| of.intended).sum::<u64>(), 1_000);
    assert_eq!(series.intervals.iter().map(|of| of.confirmed).sum::<u64>(), 1_000);
    assert_eq!(series.intervals.iter().map(|of| of.outcomes).sum::<u64>(), 990);
    assert_eq!((series.intervals[3].in_flight_max, series.intervals[25].in_flight_max), (1, 10));
}

#[test]
fn a_generator_that_could_not_keep_up_says_so() {
    let (shots, mut driven) = load(300, |_, _, _| {});
    assert_eq!(sent(&shots, &driven, 0).generator().bottleneck, None);
    driven.waited_for_slot = 4;
    assert!(sent(&shots, &driven, 0).generator().bottleneck.unwrap().contains("4 of 300 commands waited"));
    let busy = Sent { processor_share: Some(0.93), ..sent(&shots, &driven, 0) };
    assert!(busy.generator().bottleneck.unwrap().contains("93 %"));
    (0..300).for_each(|_| driven.late.record(ms(8)));
    assert!(sent(&shots, &driven, 0).generator().bottleneck.unwrap().contains("late, of its own accord"));
}
