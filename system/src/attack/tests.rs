use std::collections::BTreeSet;

use super::*;
use crate::capability::World;
use crate::role::Addresses;

/// A stage on loopback ports of its own.
async fn stage(folder: &std::path::Path) -> Stage {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let at = Addresses { producer: free(), broker: free(), auth: free(), ledger: free(), audit: free() };
    Stage::start(|role| World::real(&folder.join(role.name())), at).await.unwrap()
}

#[test]
fn every_attack_is_in_the_catalogue_once_and_every_cell_has_an_expectation_or_a_reason() {
    let names: BTreeSet<_> = Attack::ALL.iter().map(|attack| attack.name()).collect();
    assert_eq!(names.len(), Attack::ALL.len());
    let cells = cells();
    let ids: BTreeSet<_> = cells.iter().map(Cell::id).collect();
    assert_eq!(ids.len(), cells.len(), "two cells share a message id");
    for spec in action::REGISTRY {
        let tried = cells.iter().filter(|cell| cell.action.is_some_and(|action| action.name == spec.name));
        let entries: BTreeSet<_> = tried.filter(|cell| cell.expected.is_ok()).map(|cell| cell.entry).collect();
        assert_eq!(entries.len(), 5, "{} is attacked by {entries:?} only", spec.name);
    }
}

#[test]
fn every_example_is_a_payload_that_its_action_reads() {
    for spec in action::REGISTRY {
        let body = arsenal::body("acme", "ana", spec, "m-1", "2026-01-01T00:00:00Z");
        assert!(crate::message::Message::parse(body.into()).is_ok(), "{}", spec.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_catalogue_is_tried_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path()).await;
    let table = run(&stage.target, Checks::default()).await.unwrap();
    let breaches: Vec<_> = table.breaches().collect();
    assert!(breaches.is_empty(), "{} breaches: {breaches:#?}", breaches.len());
    let (tries, tried) = table.tried();
    assert!(tried > 300 && tries >= tried, "{}", table.summary());
    assert!(!table.markdown().contains("not tried"), "{}", table.markdown());
    stage.stop().await.unwrap();
}
