//! What the example tells is what it promises.

use super::story;

#[test]
fn the_bug_is_found_and_a_coin_and_a_power_loss_are_left_of_it() {
    let told = story(true).unwrap();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].contains(" loses {") && lines[1].contains("ms  coin "), "{told}");
    assert!(lines[2].ends_with("ms  power_loss till"), "{told}");
    assert_eq!(story(true).unwrap(), told, "another run tells another story");
}

#[test]
fn without_the_bug_no_seed_loses_a_coin() {
    assert_eq!(story(false).unwrap(), "200 seeds lose nothing\n");
}
