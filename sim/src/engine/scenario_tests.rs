//! A scenario that says everything, one that says the least, and every way to get one wrong.

use std::time::Duration;

use serde::Serialize;

use super::*;
use crate::engine::fault::{FaultKind, When};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Topology {
    consumers: u64,
}

impl Default for Topology {
    fn default() -> Self {
        Self { consumers: 1 }
    }
}

impl Section for Topology {
    fn check(&self) -> Result<(), SectionError> {
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    commands: Spanned<u64>,
}

impl Section for Workload {
    fn check(&self) -> Result<(), SectionError> {
        match self.commands.get_ref() {
            0 => Err(SectionError::new(self.commands.span(), "no commands", "commands is at least 1")),
            _ => Ok(()),
        }
    }

    fn known_marks() -> Option<Vec<String>> {
        Some(vec!["redelivered".into(), "fenced".into()])
    }

    fn known_events() -> Option<Vec<String>> {
        Some(vec!["leased".into(), "settled".into()])
    }
}

impl Work for Workload {
    type Act = Act;

    fn check_act(&self, seed: u64, act: &Act) -> Result<(), (String, String)> {
        let right = format!("with seed {seed} there is only \"ana\"");
        if act.greet == "ana" { Ok(()) } else { Err((format!("{:?} is not there", act.greet), right)) }
    }

    fn brings(act: &Act) -> Option<&str> {
        Some(&act.greet)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Act {
    greet: String,
}

fn parse(text: &str) -> Result<Scenario<Topology, Workload>, ScenarioError> {
    let hosts = |topology: &Topology, _: &Workload| {
        let consumers = (0..topology.consumers).map(|index| format!("consumer-{index}"));
        ["broker", "ledger"].into_iter().map(String::from).chain(consumers).collect()
    };
    Scenario::parse("scenarios/story.toml", text, hosts)
}

const LEAST: &str = "name = \"story\"\ndescription = \"A story.\"\nduration_ms = 2000\n[workload]\ncommands = 5\n";

/// Asserts where an error stands and that message and help contain what they must.
#[track_caller]
fn refused(text: &str, place: (usize, usize), marked: &str, message: &str, help: &str) {
    let error = parse(text).expect_err("this scenario is wrong");
    assert_eq!(error.line_and_column(), place, "{error}\n{text}");
    assert_eq!(error.marked(), marked, "{error}");
    assert!(error.to_string().contains(message), "message: {error}");
    assert!(error.help().contains(help), "help: {}", error.help());
}

#[track_caller]
fn fault_refused(fault: &str, line_after_header: usize, column: usize, marked: &str, message: &str, help: &str) {
    let header = LEAST.lines().count() + 1;
    let text = format!("{LEAST}[[fault]]\n{fault}\n");
    refused(&text, (header + line_after_header, column), marked, message, help);
}

#[test]
fn the_least_scenario_has_sensible_defaults() {
    let scenario = parse(LEAST).unwrap();
    assert_eq!(scenario.name, "story");
    assert_eq!((scenario.duration, scenario.drain), (Duration::from_secs(2), Duration::from_secs(10)));
    assert_eq!(scenario.network, Network { latency_ms: 1..=4, tick_ms: 1 });
    assert_eq!(scenario.disk, Disk { sync_ms: 1..=4, lying_sync: false });
    assert_eq!((scenario.topology.consumers, *scenario.workload.commands.get_ref()), (1, 5));
    assert!(scenario.faults.is_empty() && scenario.sometimes.is_empty());
}

#[test]
fn the_fullest_scenario_says_everything() {
    let text = r#"
name = "story"
description = "All of it."
duration_ms = 2000
drain_ms = 500
sometimes = ["redelivered"]
[network]
latency_ms = { min = 2, max = 9 }
tick_ms = 2
[disk]
sync_ms = { min = 3, max = 3 }
lying_sync = true
[topology]
consumers = 2
[workload]
commands = 7
[[fault]]
kind = "partition"
between = ["consumer-1", "ledger"]
at_ms = 300
for_ms = 400
[[fault]]
kind = "partition_oneway"
from = "broker"
to = "ledger"
at_ms = 1
for_ms = 2
[[fault]]
kind = "hold"
between = ["broker", "ledger"]
at_ms = 1
for_ms = 2
[[fault]]
kind = "crash"
host = "broker"
at_ms = 1
for_ms = 2
[[fault]]
kind = "power_loss"
host = "broker"
at_ms = 1600
for_ms = 400
[[fault]]
kind = "bounce"
host = "broker"
at_ms = 2000
[[fault]]
kind = "disk_slow"
host = "broker"
at_ms = 1
for_ms = 2
sync_ms = 60000
[[fault]]
kind = "disk_full"
host = "ledger"
at_ms = 1
for_ms = 2
[[fault]]
kind = "disk_error"
host = "ledger"
at_ms = 1
for_ms = 2
[[fault]]
kind = "bit_rot"
host = "ledger"
at_ms = 2000
"#;
    let scenario = parse(text).unwrap();
    assert_eq!(scenario.network, Network { latency_ms: 2..=9, tick_ms: 2 });
    assert_eq!(scenario.disk, Disk { sync_ms: 3..=3, lying_sync: true });
    assert_eq!(scenario.sometimes, ["redelivered"]);
    let told: Vec<_> = scenario.faults.iter().map(|fault| fault.kind.to_string()).collect();
    let expected = [
        "partition consumer-1 <-> ledger",
        "partition_oneway broker -> ledger",
        "hold broker <-> ledger",
        "crash broker",
        "power_loss broker",
        "bounce broker",
        "disk_slow broker to 60000 ms",
        "disk_full ledger",
        "disk_error ledger",
        "bit_rot ledger",
    ];
    assert_eq!(told, expected);
    assert_eq!(scenario.faults[0].at, Duration::from_millis(300));
    assert_eq!(scenario.faults[0].for_, Duration::from_millis(400));
    assert_eq!(scenario.faults[5].kind, FaultKind::Bounce { host: "broker".into() });
}

#[test]
fn a_syntax_error_points_at_its_place() {
    let error = parse("name = \"story\"\ndescription = \n").unwrap_err();
    assert_eq!(error.line_and_column().0, 2, "{error}");
    assert!(error.help().contains("not TOML"), "{}", error.help());
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let text = LEAST.replace("duration_ms", "duraton_ms");
    refused(&text, (3, 1), "duraton_ms", "unknown field `duraton_ms`", "did you mean \"duration_ms\"?");
    let text = format!("{LEAST}comands = 3\n");
    refused(&text, (6, 1), "comands", "unknown field", "did you mean \"commands\"?");
}

#[test]
fn a_wrong_type_is_marked() {
    let text = LEAST.replace("2000", "\"long\"");
    refused(&text, (3, 15), "\"long\"", "invalid type: string \"long\", expected u64", "whole milliseconds");
}

#[test]
fn a_missing_key_is_named() {
    let error = parse(&LEAST.replace("description = \"A story.\"\n", "")).unwrap_err();
    assert!(error.to_string().contains("missing field `description`"), "{error}");
    assert_eq!(error.help(), "add `description` here");
}

#[test]
fn a_name_that_is_not_the_files_is_refused() {
    let text = LEAST.replace("\"story\"", "\"tale\"");
    refused(&text, (1, 8), "\"tale\"", "a file of another name", "write name = \"story\"");
}

#[test]
fn numbers_outside_their_limits_are_refused() {
    refused(&LEAST.replace("2000", "0"), (3, 15), "0", "duration_ms is 0", "at least 1 and at most 3600000");
    let text = format!("drain_ms = 0\n{LEAST}");
    refused(&text, (1, 12), "0", "drain_ms is 0", "at least 1");
    let text = format!("{LEAST}[network]\ntick_ms = 101\n");
    refused(&text, (7, 11), "101", "tick_ms is 101", "at most 100");
    let text = format!("{LEAST}[network]\nlatency_ms = {{ min = 5, max = 4 }}\n");
    refused(&text, (7, 14), "{ min = 5, max = 4 }", "from 5 to 4", "A <= B");
    let text = format!("{LEAST}[disk]\nsync_ms = {{ min = 1, max = 60001 }}\n");
    refused(&text, (7, 11), "{ min = 1, max = 60001 }", "from 1 to 60001", "A <= B <= 60000");
}

#[test]
fn the_hosted_halfs_own_checks_are_reported_the_same_way() {
    refused(&LEAST.replace("= 5", "= 0"), (5, 12), "0", "no commands", "at least 1");
}

#[test]
fn a_mark_that_no_run_reaches_is_refused() {
    let text = format!("sometimes = [\"redeliverd\"]\n{LEAST}");
    refused(&text, (1, 14), "\"redeliverd\"", "no run reaches a mark", "did you mean \"redelivered\"?");
}

#[test]
fn an_unknown_host_is_answered_with_the_known_ones() {
    let fault = "kind = \"crash\"\nhost = \"borker\"\nat_ms = 1\nfor_ms = 1";
    let help = "did you mean \"broker\"? known hosts: broker, ledger, consumer-0";
    fault_refused(fault, 2, 8, "\"borker\"", "there is no host \"borker\"", help);
}

#[test]
fn an_unknown_kind_is_answered_with_the_known_ones() {
    let fault = "kind = \"powerloss\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(fault, 1, 8, "\"powerloss\"", "there is no fault", "did you mean \"power_loss\"?");
}

#[test]
fn a_key_too_few_or_too_many_for_the_kind_is_refused() {
    let lacks = "kind = \"partition\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(lacks, 1, 8, "\"partition\"", "lacks between", "a partition takes at_ms, between, for_ms");
    let extra = "kind = \"bounce\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(extra, 4, 10, "1", "a bounce takes no for_ms", "a bounce takes at_ms, host");
    let extra = "kind = \"crash\"\nhost = \"broker\"\nfrom = \"ledger\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(extra, 3, 8, "\"ledger\"", "a crash takes no from", "a crash takes at_ms, host, for_ms");
}

#[test]
fn a_slow_disk_says_how_slow_within_limits_and_no_other_fault_does() {
    let lacks = "kind = \"disk_slow\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 1";
    let takes = "a disk_slow takes at_ms, host, for_ms, sync_ms";
    fault_refused(lacks, 1, 8, "\"disk_slow\"", "lacks sync_ms", takes);
    for wrong in ["0", "60001"] {
        let text = format!("{lacks}\nsync_ms = {wrong}");
        fault_refused(&text, 5, 11, wrong, &format!("sync_ms is {wrong}"), "at least 1 and at most 60000");
    }
    let extra = "kind = \"disk_full\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 1\nsync_ms = 9";
    fault_refused(extra, 5, 11, "9", "a disk_full takes no sync_ms", "a disk_full takes at_ms, host, for_ms");
    let lasting = "kind = \"bit_rot\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(lasting, 4, 10, "1", "a bit_rot takes no for_ms", "a bit_rot takes at_ms, host");
}

#[test]
fn a_fault_must_be_healed_within_the_scenario() {
    let long = "kind = \"crash\"\nhost = \"broker\"\nat_ms = 1900\nfor_ms = 101";
    fault_refused(long, 4, 10, "101", "1900 + 101 ms", "at most duration_ms = 2000");
    let late = "kind = \"bounce\"\nhost = \"broker\"\nat_ms = 2001";
    fault_refused(late, 3, 9, "2001", "after the scenario's 2000", "at most duration_ms");
    let brief = "kind = \"crash\"\nhost = \"broker\"\nat_ms = 1\nfor_ms = 0";
    fault_refused(brief, 4, 10, "0", "no duration", "at least 1");
}

#[test]
fn the_two_sides_of_a_wire_are_two_different_hosts() {
    let same = "kind = \"hold\"\nbetween = [\"broker\", \"broker\"]\nat_ms = 1\nfor_ms = 1";
    fault_refused(same, 2, 11, "[\"broker\", \"broker\"]", "both sides are", "known hosts: broker");
    let one = "kind = \"hold\"\nbetween = [\"broker\"]\nat_ms = 1\nfor_ms = 1";
    fault_refused(one, 2, 11, "[\"broker\"]", "1 names for the two sides", "between = [");
    let same = "kind = \"partition_oneway\"\nfrom = \"broker\"\nto = \"broker\"\nat_ms = 1\nfor_ms = 1";
    fault_refused(same, 3, 6, "\"broker\"", "both sides are", "known hosts");
}

#[test]
fn an_error_is_shown_with_its_line_and_a_mark_under_it() {
    let error = parse(&LEAST.replace("= 5", "= 0")).unwrap_err();
    let mut shown = String::new();
    let theme = miette::GraphicalTheme::unicode_nocolor();
    miette::GraphicalReportHandler::new_themed(theme).render_report(&mut shown, &error).unwrap();
    assert!(shown.contains("scenarios/story.toml:5:12"), "{shown}");
    assert!(shown.contains("help: commands is at least 1"), "{shown}");
}

#[test]
fn chaos_is_silent_about_all_but_its_budget() {
    let chaos = parse(&format!("{LEAST}[chaos]\nfaults = {{ min = 1, max = 4 }}\n")).unwrap().chaos.unwrap();
    assert_eq!((chaos.faults, chaos.for_ms, chaos.swarm), (1..=4, 20..=1200, true));
    assert_eq!(chaos.hosts, ["broker", "ledger", "consumer-0"]);
    assert!(chaos.kinds.contains(&"crash") && !chaos.kinds.contains(&"bit_rot"), "{:?}", chaos.kinds);
    let brief = LEAST.replace("2000", "300");
    let chaos = parse(&format!("{brief}[chaos]\nfaults = {{ min = 1, max = 4 }}\n")).unwrap().chaos.unwrap();
    assert_eq!(chaos.for_ms, 1..=300, "what is not written fits into a short scenario");
}

#[test]
fn chaos_that_can_not_be_is_refused_at_its_place() {
    let refuses = |section: &str, column: usize, marked: &str, message: &str, help: &str| {
        refused(&format!("{LEAST}[chaos]\n{section}\n"), (7, column), marked, message, help);
    };
    let turned = "faults = { min = 3, max = 2 }";
    refuses(turned, 10, "{ min = 3, max = 2 }", "faults reaches from 3 to 2", "0 <= A <= B <= 1000");
    let long = "for_ms = { min = 1, max = 2001 }\nfaults = { min = 1, max = 1 }";
    refuses(long, 10, "{ min = 1, max = 2001 }", "for_ms reaches from 1 to 2001", "1 <= A <= B <= 2000");
    let kinds = "kinds = [\"crsh\"]\nfaults = { min = 1, max = 1 }";
    refuses(kinds, 10, "\"crsh\"", "there is no kind \"crsh\"", "did you mean \"crash\"?");
    let hosts = "hosts = [\"broker\", \"legder\"]\nfaults = { min = 1, max = 1 }";
    refuses(hosts, 20, "\"legder\"", "there is no host \"legder\"", "did you mean \"ledger\"?");
    let none = "hosts = []\nfaults = { min = 1, max = 1 }";
    refuses(none, 9, "[]", "chaos on no host", "leave the key out");
}

/// The only fault of a scenario, told.
fn fault(text: &str) -> Fault {
    parse(&format!("{LEAST}[[fault]]\n{text}\n")).unwrap().faults.remove(0)
}

#[test]
fn faults_of_frames_connections_processes_and_clocks_are_read() {
    let between = "between = [\"broker\", \"ledger\"]\nat_ms = 5\n";
    for (text, told) in [
        ("slow_link", "for_ms = 9\nlatency_ms = 80"),
        ("connection_reset", ""),
        ("frame_drop", "for_ms = 9\npercent = 30"),
        ("frame_duplicate", "for_ms = 9\npercent = 30"),
        ("frame_reorder", "for_ms = 9\npercent = 100"),
        ("frame_corrupt", "for_ms = 9\npercent = 1"),
        ("frame_delay", "for_ms = 9\npercent = 30\ndelay_ms = 50"),
    ] {
        let fault = fault(&format!("kind = \"{text}\"\n{between}{told}"));
        assert_eq!((fault.kind.name(), fault.kind.hosts()), (text, vec!["broker", "ledger"]));
    }
    let host = "host = \"broker\"\nat_ms = 5\nfor_ms = 900\n";
    for (text, told) in [
        ("pause", "pause broker"),
        ("restart_loop\"\nup_ms = 70 #", "restart_loop broker up for 70 ms"),
        ("clock_skew\"\noffset_ms = -400 #", "clock_skew broker by -400 ms"),
        ("clock_jump\"\noffset_ms = 30000 #", "clock_jump broker by 30000 ms"),
    ] {
        assert_eq!(fault(&format!("kind = \"{text}\"\n{host}")).kind.to_string(), told);
    }
}

#[test]
fn numbers_of_the_finer_kinds_have_limits() {
    let dropped = "kind = \"frame_drop\"\nbetween = [\"broker\", \"ledger\"]\nat_ms = 5\nfor_ms = 9\npercent = 101";
    fault_refused(dropped, 5, 11, "101", "percent is 101", "at least 1 and at most 100");
    let clock = "host = \"broker\"\nat_ms = 5\nfor_ms = 800\noffset_ms";
    let still = format!("kind = \"clock_jump\"\n{clock} = 0");
    fault_refused(&still, 5, 13, "0", "offset_ms is 0", "and not 0");
    let backwards = format!("kind = \"clock_skew\"\n{clock} = -400");
    fault_refused(&backwards, 5, 13, "-400", "offset_ms is -400", "off by at most 399 ms");
}

#[test]
fn a_fault_may_wait_for_an_event_instead_of_having_a_time() {
    let crash = "kind = \"crash\"\nhost = \"broker\"\nfor_ms = 9\n";
    let waiting = fault(&format!("{crash}when = {{ event = \"leased\", of = \"t-1\", nth = 3, after_ms = 5 }}"));
    let when = When { event: "leased".into(), of: Some("t-1".into()), nth: 3, after_ms: 5 };
    assert_eq!((waiting.at, waiting.for_, waiting.when), (Duration::ZERO, Duration::from_millis(9), Some(when)));
    let first = fault(&format!("{crash}when = {{ event = \"settled\" }}")).when.unwrap();
    assert_eq!((first.of, first.nth, first.after_ms), (None, 1, 0));

    let wrong = |when: &str| format!("{crash}when = {{ {when} }}");
    let lesed = wrong("event = \"lesed\"");
    fault_refused(&lesed, 4, 18, "\"lesed\"", "no run has an event", "did you mean \"leased\"?");
    fault_refused(&wrong("event = \"leased\", nth = 0"), 4, 34, "0", "nth is 0", "counts from 1");
    let late = wrong("event = \"leased\", after_ms = 2001");
    fault_refused(&late, 4, 39, "2001", "after_ms is 2001", "at most duration_ms = 2000");
    let both = format!("{crash}at_ms = 1\nwhen = {{ event = \"leased\" }}");
    fault_refused(&both, 5, 8, "{ event = \"leased\" }", "a time and an event", "not both");
    fault_refused(crash.trim_end(), 1, 8, "\"crash\"", "this crash lacks at_ms", "or `when` instead");
}

const SPELT: &str = r#"
[plan]
seed = 18446744073709551615
guards = "G1-isolation"

[[plan.entry]]
fault = { at_ms = 500, for_ms = 300, kind = { crash = { host = "broker" } } }

[[plan.entry]]
at_ms = 12
act = { greet = "ana" }
"#;

#[test]
fn a_plan_that_is_spelt_out_is_read_with_its_own_seed_and_stays_when_written_again() {
    let spelt = parse(&format!("{LEAST}{SPELT}")).unwrap().plan.unwrap();
    assert_eq!((spelt.seed, spelt.guards.as_deref(), spelt.digest.as_deref()), (u64::MAX, Some("G1-isolation"), None));
    assert_eq!(spelt.faults[0].kind, FaultKind::Crash { host: "broker".into() });
    assert_eq!(spelt.acts, [(12, Act { greet: "ana".into() })]);
    let plan = crate::engine::plan::Plan::new(7, "story", &spelt.faults, spelt.acts.clone());
    let chain = Some("16:0a1b2c3d");
    let written = crate::engine::scenario_plan::spell(&plan, "G1-isolation", "00ff", chain, None);
    let again = parse(&format!("{LEAST}{written}")).unwrap().plan.unwrap();
    assert_eq!((again.seed, again.digest.as_deref()), (7, Some("00ff")));
    assert_eq!(again.chain.map(|chain| chain.to_string()).as_deref(), chain);
    assert_eq!((again.faults, again.acts), (spelt.faults, spelt.acts), "{written}");
}

#[test]
fn an_entry_that_can_not_be_is_refused_at_its_place() {
    let refuses = |from: &str, to: &str, place: (usize, usize), marked: &str, message: &str, help: &str| {
        let text = SPELT.replace(from, to);
        assert_ne!(text, SPELT);
        refused(&format!("{LEAST}{text}"), place, marked, message, help);
    };
    let fault = "{ at_ms = 500, for_ms = 300, kind = { crash = { host = \"broker\" } } }";
    let borker = fault.replace("broker", "borker");
    refuses("broker", "borker", (12, 9), &borker, "no host \"borker\"", "did you mean \"broker\"?");
    let late = fault.replace("300", "1501");
    refuses("300", "1501", (12, 9), &late, "over after the scenario's 2000 ms", "at_ms + for_ms is at most");
    let endless = fault.replace("300", "0");
    refuses("300", "0", (12, 9), &endless, "a crash of 0 ms", "for_ms is at least 1");
    refuses("crash", "crsh", (12, 47), "crsh", "unknown variant `crsh`", "known keys");
    let eve = "{ greet = \"eve\" }";
    refuses("\"ana\"", "\"eve\"", (16, 7), eve, "\"eve\" is not there", "with seed 18446744073709551615");
    // Numbers that a scenario's own faults can't have either; none of them may come to the run.
    let kind = "{ crash = { host = \"broker\" } }";
    for (other, message, help) in [
        (
            "{ poison = { host = \"broker\", percent = 101 } }",
            "percent is 101",
            "percent is at least 1 and at most 100",
        ),
        ("{ disk_slow = { host = \"broker\", sync_ms = 0 } }", "sync_ms is 0", "sync_ms is at least 1"),
        ("{ restart_loop = { host = \"broker\", up_ms = 60001 } }", "up_ms is 60001", "at most 60000"),
        ("{ burst = { host = \"broker\", commands = 0 } }", "commands is 0", "at most 10000"),
        ("{ clock_jump = { host = \"broker\", offset_ms = 3600001 } }", "offset_ms is 3600001", "at most 3600000"),
        ("{ clock_jump = { host = \"broker\", offset_ms = -9223372036854775808 } }", "offset_ms is -92", "and not 0"),
        ("{ clock_skew = { host = \"broker\", offset_ms = 150 } }", "offset_ms is 150", "off by at most 149 ms"),
        (
            &format!("{kind}, when = {{ event = \"taken\", nth = 1, after_ms = 1 }}"),
            "no run has an event \"taken\"",
            "leased",
        ),
        (&format!("{kind}, when = {{ event = \"leased\", nth = 0, after_ms = 1 }}"), "nth is 0", "nth counts from 1"),
        (
            &format!("{kind}, when = {{ event = \"leased\", nth = 1, after_ms = 2001 }}"),
            "after_ms is 2001",
            "at most duration",
        ),
    ] {
        refuses(kind, other, (12, 9), &fault.replace(kind, other), message, help);
    }
    let between = |kind: &str| format!("{{ frame_delay = {{ a = \"broker\", b = \"ledger\", {kind} }} }}");
    for (numbers, message) in
        [("percent = 101, delay_ms = 5", "percent is 101"), ("percent = 5, delay_ms = 0", "delay_ms is 0")]
    {
        let other = between(numbers);
        refuses(kind, &other, (12, 9), &fault.replace(kind, &other), message, "at least 1 and at most");
    }
    refuses("greet", "great", (16, 9), "great", "unknown field `great`", "did you mean \"greet\"?");
    refuses("= 12", "= 12001", (15, 9), "12001", "when the run is over", "duration_ms + drain_ms = 12000");
    let twice = format!("{LEAST}{SPELT}\n[[plan.entry]]\nat_ms = 13\nact = {{ greet = \"ana\" }}\n");
    refused(&twice, (20, 7), "{ greet = \"ana\" }", "\"ana\" is in an entry before", "give each a name of its own");
    let neither = "an entry is a fault or an act";
    let text = format!("{LEAST}[plan]\nseed = 1\n[[plan.entry]]\nat_ms = 5\n");
    let error = parse(&text).expect_err(neither);
    assert!(error.to_string().contains("neither a fault nor an act"), "{error}");
    assert_eq!(error.line_and_column().0, 8, "{neither}");
}
