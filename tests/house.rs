//! The rules of the house that no compiler checks: which way the arrows point.

use std::path::Path;
use std::process::Command;

use tenantry_tests::root;

#[test]
fn production_never_links_the_simulator() {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--locked", "-p", "tenantry-system", "-e", "normal,build", "--prefix", "none"])
        .output()
        .expect("cargo tree runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("text");
    assert!(tree.contains("tokio"), "the tree of dependencies is not one: {tree}");
    let linked: Vec<_> =
        tree.lines().filter(|line| line.contains("turmoil") || line.contains("tenantry-sim")).collect();
    assert!(linked.is_empty(), "tenantry-system depends on {linked:?}");
}

#[test]
fn production_has_no_branch_for_the_simulator() {
    for (file, text) in sources(&root().join("system/src")) {
        for word in ["turmoil", "tenantry_sim", "cfg(feature", "tokio_unstable"] {
            assert!(!text.contains(word), "{file} names {word}");
        }
    }
}

#[test]
fn the_generic_half_of_the_harness_knows_nothing_of_tenantry() {
    for (file, text) in sources(&root().join("sim/src/engine")) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            assert!(!line.contains("tenantry_system") && !line.contains("crate::tenantry"), "{file}: {line}");
        }
    }
}

#[test]
fn reports_know_neither_system_nor_simulator() {
    let manifest = std::fs::read_to_string(root().join("reports/Cargo.toml")).expect("the manifest");
    assert!(!manifest.contains("tenantry-system") && !manifest.contains("tenantry-sim"), "{manifest}");
}

/// Every Rust file below `folder` with its text; there must be some.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).expect("a text")));
            }
        }
    }
    assert!(found.len() > 5, "only {} sources found", found.len());
    found
}
