//! Pages as a browser shows them: nothing is fetched, nothing complains, nothing runs over the edge, and without styles they
//! say the same. Needs chromium.

#![expect(clippy::disallowed_methods, reason = "pages are files; what must last is elsewhere")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tenantry_reports::record::RunRecord;
use tenantry_reports::suite::SuiteRecord;
use tenantry_reports::{html, samples};

/// What a page is opened with besides its own: nothing that the browser does of its own accord.
const QUIET: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--hide-scrollbars",
];

/// Chromium's answer to `arguments` on the page in `folder`.
fn chromium(folder: &Path, page: &Path, arguments: &[&str]) -> Output {
    let profile = tempfile::tempdir_in(folder).expect("the folder is there");
    let mut command = Command::new("chromium");
    command.args(QUIET).args(arguments).arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("file://{}", page.display()));
    let output = command.output().unwrap_or_else(|error| {
        panic!("chromium: {error}; it comes with `apt-get install chromium`, or run `.ci/chromium`, which installs it")
    });
    assert!(output.status.success(), "chromium {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Whose samples are kept in the repository: made by hand, for those of a real simulation would change with every change of the
/// system.
const KEPT: [&str; 6] = ["suite", "run_passed", "run_violated", "compare", "compare_live", "load"];

/// A hundred seeds of two scenarios and ten of a third, one of which breaks a promise.
fn suite() -> SuiteRecord {
    let mut runs: Vec<_> = (1..=100).map(|seed| samples::passed("smoke", seed)).collect();
    runs.extend((1..=100).map(|seed| samples::marked("partition_and_power_loss", seed, "redelivered")));
    runs[106] = samples::violated("partition_and_power_loss", 7);
    runs.extend((1..=10).map(|seed| samples::passed("noisy_neighbour", seed)));
    let needs = [("partition_and_power_loss", "redelivered"), ("noisy_neighbour", "http_429")];
    let needs = needs.map(|(scenario, mark)| (scenario.to_owned(), vec![mark.to_owned()]));
    SuiteRecord::new(samples::build(), runs, &needs.into_iter().collect())
}

/// All pages, by name.
fn pages() -> Vec<(&'static str, String)> {
    let link = |run: &RunRecord| (run.seed == 7).then(|| "run_violated.html".to_owned());
    vec![
        ("suite", html::suite(&suite(), link)),
        ("suite_passed", html::suite(&samples::passing_suite(), link)),
        ("suite_failed", html::suite(&samples::failing_suite(), link)),
        ("run_passed", html::run(&samples::report::passed())),
        ("run_violated", html::run(&samples::report::violated())),
        ("compare", html::compare(&samples::compare::worse())),
        ("compare_same", html::compare(&samples::compare::same())),
        ("compare_live", html::compare(&samples::compare::live())),
        ("load", html::load(&samples::load::load())),
        ("load_searched", html::load(&samples::load::searched())),
    ]
}

fn written(folder: &Path, name: &str, page: &str) -> PathBuf {
    let file = folder.join(format!("{name}.html"));
    fs::write(&file, page).expect("the folder can be written");
    file
}

/// The document as the browser has it in the end.
fn dom(folder: &Path, file: &Path, arguments: &[&str]) -> (String, String) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--dump-dom"]).collect();
    let output = chromium(folder, file, &arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("chromium writes UTF-8");
    (text(output.stdout), text(output.stderr))
}

/// What stands between the tags of the body.
fn words(dom: &str) -> String {
    let body = dom.split_once("<body>").expect("a page has a body").1;
    let parts = body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_page_needs_no_network_and_gives_no_cause_for_complaint() {
    let folder = tempfile::tempdir().unwrap();
    for (name, page) in pages() {
        let file = written(folder.path(), name, &page);
        let log = folder.path().join(format!("{name}.net.json"));
        let (_, told) = dom(folder.path(), &file, &[&format!("--log-net-log={}", log.display())]);
        let complaints: Vec<&str> = told.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{name}: {complaints:?}");
        // Every name that is looked up and every address that is fetched stands in the browser's own log.
        let log = fs::read_to_string(log).expect("chromium writes its log");
        assert!(log.contains(&format!("{name}.html")) || log.contains("constants"), "{name}: the log is empty");
        let fetched: Vec<&str> =
            log.lines().filter(|line| line.contains("\"url\":\"http") && !line.contains("google")).collect();
        assert!(fetched.is_empty(), "{name}: {fetched:?}");
    }
}

#[test]
fn a_page_names_nothing_that_could_be_fetched_or_run() {
    for (name, page) in pages() {
        for forbidden in
            ["<script", "<link", "<img", "<iframe", "<object", "@import", "url(", " src=", " style=", " onload="]
        {
            assert!(!page.contains(forbidden), "{name}: {forbidden}");
        }
        assert!(page.contains(html::POLICY) && html::POLICY.starts_with("default-src 'none'"), "{name}");
    }
}

#[test]
fn a_page_whose_styles_are_blocked_says_the_same_and_still_draws() {
    let folder = tempfile::tempdir().unwrap();
    for (name, page) in pages() {
        let blocked = page.replace(html::POLICY, "default-src 'none'");
        assert_ne!(page, blocked);
        let (own, _) = dom(folder.path(), &written(folder.path(), name, &page), &[]);
        let file = written(folder.path(), &format!("{name}_blocked"), &blocked);
        let (bare, told) = dom(folder.path(), &file, &[]);
        assert!(told.contains("CONSOLE"), "{name}: the browser was to refuse the style sheet");
        assert_eq!(words(&own), words(&bare), "{name}");
        let shot = folder.path().join(format!("{name}.png"));
        chromium(folder.path(), &file, &[&format!("--screenshot={}", shot.display()), "--window-size=1000,2000"]);
        let size = fs::metadata(&shot).expect("chromium writes the picture").len();
        assert!(size > 40_000, "{name}: a picture of {size} bytes is a blank one");
    }
}

#[test]
fn nothing_runs_over_the_edge_of_a_phone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, page) in pages() {
        // A browser's window can't be as narrow as a phone: the page stands in a frame that is. The page's own policy forbids
        // the script that measures it; here it doesn't.
        let measured = page.replace(html::POLICY, "default-src 'unsafe-inline'").replace(
            "</body>",
            "<script>parent.postMessage([innerWidth, document.documentElement.scrollWidth], '*')</script></body>",
        );
        let inner = written(folder.path(), name, &measured);
        let frame = format!(
            "<!doctype html><body><iframe width=400 height=900 style='border:0' src='file://{}'></iframe>\
             <script>onmessage = told => document.body.append(['measured', ...told.data, 'end'].join(' '))</script>",
            inner.display()
        );
        let file = written(folder.path(), &format!("{name}_frame"), &frame);
        let (dom, _) = dom(folder.path(), &file, &["--virtual-time-budget=5000"]);
        let told = dom.split_once("measured ").and_then(|(_, rest)| rest.split_once(" end"));
        assert_eq!(told.map(|(told, _)| told), Some("400 400"), "{name}: width of the window, width of the page");
    }
}

/// Run with `UPDATE_SAMPLES=1` to write them anew.
#[test]
fn the_samples_are_what_this_build_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    for (name, page) in pages().into_iter().filter(|(name, _)| KEPT.contains(name)) {
        let file = folder.join(format!("{name}.html"));
        if std::env::var_os("UPDATE_SAMPLES").is_some() {
            fs::create_dir_all(&folder).and_then(|()| fs::write(&file, &page)).expect("the folder can be written");
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == page,
            "{} is not what is made now: UPDATE_SAMPLES=1 writes it anew; look at it",
            file.display()
        );
    }
}

#[test]
fn hostile_words_stay_words_wherever_they_stand() {
    let hostile = "</title></style></svg><script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let document = serde_json::to_string(&samples::report::violated()).unwrap();
    // Names, ids and words of every kind, wherever the record has them.
    let said = serde_json::to_string(hostile).unwrap();
    let said = said.trim_matches('"');
    let mut tried = 0;
    for innocent in [
        "m-150",
        "consumer",
        "umbrella",
        "update_billing_limit",
        "outside_guardrail",
        "partition",
        "redelivered",
        "swapped_body",
        "G3-one-outcome",
    ] {
        let bent = document.replace(innocent, said);
        tried += usize::from(bent != document);
        let page = html::run(&serde_json::from_str(&bent).expect("only words were changed"));
        assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"), "{innocent}");
        assert_eq!(page.matches("</style>").count(), 1, "{innocent}");
    }
    assert_eq!(tried, 9);
    let mut run = samples::violated("calm", 1);
    run.record.scenario = hostile.into();
    run.record.reproduce = hostile.into();
    run.record.invariants[0].violations[0] = hostile.into();
    let suite = SuiteRecord::new(samples::build(), vec![run], &Default::default());
    let page = html::suite(&suite, |_| Some(hostile.to_owned()));
    assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"));
}

#[test]
fn half_a_million_events_make_a_page_that_stays_small() {
    let mut report = samples::report::violated();
    let (messages, events) = (report.trace.messages.clone(), report.trace.events.clone());
    let times = 500_000 / (messages.len() + events.len()) + 1;
    // All of them about the commands in conflict and before it: the worst case for what has to be cut.
    for violation in &mut report.violations {
        violation.commands.clear();
    }
    report.trace.messages = (0..times).flat_map(|_| messages.clone()).collect();
    report.trace.events = events.iter().cloned().chain((1..times).flat_map(|_| events.clone())).collect();
    let page = html::run(&report);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("messages and events about the same"), "it says how much it leaves out");
    assert!(page.matches("<line").count() < 1_500, "{} lines", page.matches("<line").count());
}
