//! Messages of version 1, as clients send them: every later build must read them, and read the same in them.

use std::collections::BTreeMap;
use std::path::Path;

use tenantry_system::action::REGISTRY;

use super::as_queued;

/// Every file of `golden/v1` by its name.
fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

#[test]
fn every_action_has_a_golden_message_named_after_it() {
    let files = files();
    for spec in REGISTRY {
        let name = spec.name;
        let golden = files.get(name).unwrap_or_else(|| panic!("add system/tests/golden/v1/{name}.json"));
        assert_eq!(as_queued(golden.as_str()).unwrap().action.name(), name);
    }
}

#[test]
fn golden_messages_are_read_as_they_always_were() {
    for (name, golden) in files() {
        let message = as_queued(golden.as_str()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(message.body, golden, "{name}: the bytes travel untouched");
        let (tenant, user, id) = (&message.tenant_id, &message.user_id, &message.message_id);
        let read = format!("{tenant}/{id} of {user} at {}\n{:?}", message.timestamp, message.action);
        insta::assert_snapshot!(format!("golden_v1_{name}"), read);
    }
}
