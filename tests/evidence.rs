//! `tenantryd evidence`: the attack catalogue against a live system, and the bundle it leaves.

use std::process::Command;

use serde_json::Value;
use tenantry_tests::binary;

#[test]
fn the_catalogue_is_refused_by_a_live_system_and_the_bundle_proves_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("evidence");
    let run = Command::new(binary("tenantryd")).args(["evidence", "--out"]).arg(&out).output().expect("tenantryd runs");
    let (said, trouble) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{trouble}");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));

    let cells: Vec<Value> = serde_json::from_str(&read("catalogue.json")).expect("JSON");
    let is = |cell: &Value, verdict: &str| cell["verdict"] == verdict || cell["verdict"].get(verdict).is_some();
    let count = |verdict| cells.iter().filter(|cell| is(cell, verdict)).count();
    let (refused, recognised, skipped) = (count("refused"), count("recognised"), count("not_applicable"));
    assert_eq!(refused + recognised + skipped, cells.len(), "every cell has ended well or has its reason");
    assert!(refused > 300, "only {refused} cells were refused");
    for action in tenantry_system::action::REGISTRY {
        assert!(cells.iter().any(|cell| cell["action"] == action.name && is(cell, "refused")), "{}", action.name);
    }

    // Each attempt that was refused rang once.
    let tries = |cell: &Value| usize::try_from(cell["tries"].as_u64().expect("a number")).expect("a small one");
    // Who merely has no approval yet has done what every panel does first.
    let rings = |cell: &&Value| is(cell, "refused") && cell["attack"] != "approval for another";
    let attempts: usize = cells.iter().filter(rings).map(tries).sum();
    let alerts = read("alerts.jsonl");
    assert!(
        alerts.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|alert| alert["code"].is_string()))
    );
    // What rules find of many attempts rings besides, under the rule's name.
    let of_attempt = |line: &&str| {
        let code = serde_json::from_str::<Value>(line).expect("JSON")["code"].clone();
        tenantry_system::audit::Code::ALL.iter().any(|known| code == known.name())
    };
    assert_eq!(alerts.lines().filter(of_attempt).count(), attempts);

    assert!(read("summary.txt").starts_with("PASS: "), "{}", read("summary.txt"));
    assert!(read("catalogue.md").contains("| forged tenant |") && said.contains("| forged tenant |"));
    let versions: Value = serde_json::from_str(&read("versions.json")).expect("JSON");
    assert!(
        versions["dependencies"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "ed25519-dalek"))
    );
    let checked = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&out).status();
    assert!(checked.expect("sha256sum runs").success());
    assert_eq!(read("SHA256SUMS").lines().count(), 5);
    assert!(!out.join(".stage").exists(), "what the attacked system kept is gone");
}
