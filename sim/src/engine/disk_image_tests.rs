//! What the simulated disk promises, told as stories and as properties over generated operations.

use proptest::prelude::*;

use super::*;

const FILE: &str = "ledger.redb";

fn disk() -> DiskImage {
    let mut disk = DiskImage::new();
    disk.create(FILE).unwrap();
    disk
}

fn content(disk: &DiskImage) -> Vec<u8> {
    let mut out = vec![0; disk.len(FILE).unwrap() as usize];
    disk.read(FILE, 0, &mut out).unwrap();
    out
}

#[test]
fn a_process_reads_what_it_wrote_before_any_sync() {
    let mut disk = disk();
    disk.write(FILE, 3, b"abc").unwrap();
    assert_eq!(content(&disk), b"\0\0\0abc");
    disk.set_len(FILE, 4).unwrap();
    disk.set_len(FILE, 6).unwrap();
    assert_eq!(content(&disk), b"\0\0\0a\0\0", "what was cut off reads as zeros");
}

#[test]
fn reading_past_the_end_and_unknown_names_are_errors() {
    let mut disk = disk();
    disk.write(FILE, 0, b"abc").unwrap();
    assert_eq!(disk.read(FILE, 1, &mut [0; 3]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(disk.read("absent", 0, &mut []).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.write(FILE, u64::MAX, b"x").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn promoted_bytes_are_no_longer_pending() {
    let mut disk = disk();
    disk.write(FILE, 0, b"abc").unwrap();
    disk.sync(FILE).unwrap();
    disk.write(FILE, 3, b"de").unwrap();
    assert_eq!(disk.pending_bytes(), 5);
    disk.promote(FILE).unwrap();
    assert_eq!(disk.pending_bytes(), 2, "what came after the sync still waits");
}

#[test]
fn a_kill_loses_nothing_but_ends_the_epoch() {
    let mut disk = disk();
    disk.write(FILE, 0, b"unsynced").unwrap();
    disk.crash();
    assert_eq!(content(&disk), b"unsynced");
    assert_eq!(disk.epoch(), 1);
    assert_eq!(disk.pending_bytes(), 8, "a later power loss may still take it");
}

#[test]
fn over_many_seeds_a_power_loss_takes_keeps_and_tears_unsynced_sectors() {
    let (mut none, mut some, mut all) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = disk();
        disk.write(FILE, 0, &[1; 4 * SECTOR]).unwrap();
        disk.sync(FILE).unwrap();
        disk.promote(FILE).unwrap();
        disk.write(FILE, 0, &[2; 4 * SECTOR]).unwrap();
        let loss = disk.power_loss(&Dice::new(seed), 0);
        let content = content(&disk);
        let kept = content.chunks(SECTOR).filter(|sector| sector.iter().all(|&byte| byte == 2)).count();
        let old = content.chunks(SECTOR).filter(|sector| sector.iter().all(|&byte| byte == 1)).count();
        assert_eq!(kept + old, 4, "seed {seed}: a sector is old or new, never half of each");
        assert_eq!(loss.bytes_lost, (old * SECTOR) as u64, "seed {seed}");
        match kept {
            0 => none += 1,
            4 => all += 1,
            _ => some += 1,
        }
    }
    assert!(none > 0 && some > 0 && all > 0, "none {none}, some {some}, all {all} of 200 seeds");
}

#[test]
fn over_many_seeds_the_length_is_kept_or_not() {
    let (mut short, mut long) = (0, 0);
    for seed in 0..100 {
        let mut disk = disk();
        disk.set_len(FILE, 4096).unwrap();
        disk.power_loss(&Dice::new(seed), 0);
        match disk.len(FILE).unwrap() {
            0 => short += 1,
            4096 => long += 1,
            other => panic!("seed {seed}: a length of {other} that nobody asked for"),
        }
    }
    assert!(short > 20 && long > 20, "short {short}, long {long}");
}

#[test]
fn a_later_epoch_never_survives_an_earlier_one() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut disk = disk();
        for epoch in 1..=3_u8 {
            disk.write(FILE, 0, &[epoch; 8]).unwrap();
            disk.write(FILE, 4 * SECTOR as u64, &[epoch; 8]).unwrap();
            disk.sync(FILE).unwrap();
        }
        disk.power_loss(&Dice::new(seed), 0);
        let at = |offset| {
            let mut byte = [0];
            disk.read(FILE, offset, &mut byte).map_or(0, |()| byte[0])
        };
        let (first, second) = (at(0), at(4 * SECTOR as u64));
        assert!(first.abs_diff(second) <= 1, "seed {seed}: sectors of epochs {first} and {second} in one file");
        ends.insert(first.max(second));
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "every sync was chosen in some seed");
}

#[test]
fn what_survives_does_not_depend_on_the_order_of_writes_within_an_epoch() {
    for seed in 0..50 {
        let survivor = |order: &[u64]| {
            let mut disk = disk();
            for &sector in order {
                disk.write(FILE, sector * SECTOR as u64, &[sector as u8 + 1; SECTOR]).unwrap();
            }
            disk.power_loss(&Dice::new(seed), 0);
            content(&disk)
        };
        assert_eq!(survivor(&[0, 1, 2, 3]), survivor(&[3, 1, 0, 2]), "seed {seed}");
    }
}

#[test]
fn one_loss_differs_from_the_next() {
    let survivor = |counter| {
        let mut disk = disk();
        disk.write(FILE, 0, &[7; 32 * SECTOR]).unwrap();
        disk.power_loss(&Dice::new(1), counter);
        content(&disk)
    };
    assert_eq!(survivor(0), survivor(0));
    assert_ne!(survivor(0), survivor(1));
}

#[test]
fn a_lying_sync_loses_what_it_called_done_in_some_seed() {
    let lost = (0..50)
        .filter(|&seed| {
            let mut disk = disk();
            disk.lying_sync = true;
            for _ in 0..3 {
                disk.write(FILE, 0, b"confirmed").unwrap();
                disk.sync(FILE).unwrap();
                disk.promote(FILE).unwrap();
            }
            disk.power_loss(&Dice::new(seed), 0).bytes_lost > 0
        })
        .count();
    assert!((5..50).contains(&lost), "lost in {lost} of 50 seeds");
}

fn in_state(state: DiskState) -> DiskImage {
    let mut disk = disk();
    disk.write(FILE, 0, b"before").unwrap();
    disk.sync(FILE).unwrap();
    disk.promote(FILE).unwrap();
    disk.set_state(state, &Dice::new(1));
    disk
}

#[test]
fn a_full_disk_refuses_growth_and_lets_what_is_there_be_overwritten_and_cut() {
    let mut disk = in_state(DiskState { full: true, ..DiskState::default() });
    for refused in [disk.write(FILE, 4, b"xyz"), disk.set_len(FILE, 7), disk.create("other")] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!((disk.refused(), content(&disk)), (3, b"before".to_vec()));
    disk.write(FILE, 3, b"xyz").unwrap();
    disk.set_len(FILE, 5).unwrap();
    disk.create(FILE).unwrap();
    disk.sync(FILE).unwrap();
    disk.promote_all().unwrap();
    assert_eq!((disk.refused(), content(&disk)), (3, b"befxy".to_vec()));
    disk.set_state(DiskState::default(), &Dice::new(1));
    disk.write(FILE, 4, b"yz").unwrap();
}

#[test]
fn a_failing_disk_changes_nothing_makes_nothing_durable_and_can_still_be_read() {
    let mut disk = in_state(DiskState::default());
    disk.write(FILE, 0, b"after!").unwrap();
    disk.set_state(DiskState { failing: true, ..disk.state() }, &Dice::new(1));
    for refused in [disk.write(FILE, 0, b"x"), disk.set_len(FILE, 1), disk.sync(FILE), disk.create("other")] {
        assert!(refused.unwrap_err().to_string().contains("input/output error"));
    }
    disk.promote_all().unwrap();
    assert_eq!((disk.refused(), content(&disk), disk.pending_bytes()), (4, b"after!".to_vec(), 6));
    let survives = |disk: &mut DiskImage, seed| {
        disk.power_loss(&Dice::new(seed), 0);
        content(disk)
    };
    let lost = (0..20).any(|seed| {
        let mut disk = in_state(DiskState::default());
        disk.write(FILE, 0, b"after!").unwrap();
        disk.set_state(DiskState { failing: true, ..disk.state() }, &Dice::new(1));
        assert!(disk.sync(FILE).is_err());
        survives(&mut disk, seed) == b"before"
    });
    assert!(lost, "a failed sync kept its bytes in all of 20 seeds");
}

#[test]
fn a_disk_that_begins_to_fail_during_a_sync_does_not_call_it_done() {
    let mut disk = in_state(DiskState::default());
    disk.write(FILE, 0, b"after!").unwrap();
    disk.sync(FILE).unwrap();
    disk.set_state(DiskState { failing: true, ..disk.state() }, &Dice::new(1));
    assert!(disk.promote_all().is_err());
    assert_eq!((disk.refused(), disk.pending_bytes()), (1, 6));
    disk.set_state(DiskState { failing: false, ..disk.state() }, &Dice::new(1));
    disk.promote_all().unwrap();
    assert_eq!(disk.pending_bytes(), 0, "what it had accepted is still there to be synced");
}

fn tearing(disk: &mut DiskImage, seed: u64) {
    disk.set_state(DiskState { tearing: true, ..DiskState::default() }, &Dice::new(seed));
}

#[test]
fn a_torn_write_fails_and_leaves_a_part_which_the_next_process_finds() {
    let (mut none, mut some, mut all) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = disk();
        disk.write(FILE, 0, &[1; 4 * SECTOR]).unwrap();
        disk.sync(FILE).unwrap();
        disk.promote(FILE).unwrap();
        tearing(&mut disk, seed);
        disk.write(FILE, 0, &[2; 4 * SECTOR]).unwrap();
        disk.sync(FILE).unwrap();
        assert!(disk.promote_all().is_err(), "seed {seed}");
        assert_eq!(content(&disk), [2; 4 * SECTOR], "whoever wrote it reads it from the page cache");
        assert!(disk.write(FILE, 0, b"x").is_err() && disk.sync(FILE).is_err() && disk.promote_all().is_err());
        disk.crash();
        let content = content(&disk);
        let new = content.chunks(SECTOR).filter(|sector| sector.iter().all(|&byte| byte == 2)).count();
        let old = content.chunks(SECTOR).filter(|sector| sector.iter().all(|&byte| byte == 1)).count();
        assert_eq!(new + old, 4, "seed {seed}: a sector is old or new, never half of each");
        (none, some, all) = match new {
            0 => (none + 1, some, all),
            4 => (none, some, all + 1),
            _ => (none, some + 1, all),
        };
        assert_eq!(disk.power_loss(&Dice::new(seed), 0).bytes_lost, 0, "what is there is durable");
    }
    assert!(none > 0 && some > 50 && all > 0, "none in {none} seeds, some in {some}, all in {all}");
}

#[test]
fn one_fault_tears_one_write_and_the_next_fault_another() {
    let mut disk = disk();
    let mut commit = |tears: Option<bool>| {
        match tears {
            Some(true) => tearing(&mut disk, 1),
            Some(false) => disk.set_state(DiskState::default(), &Dice::new(1)),
            None => {}
        }
        let done = disk.write(FILE, 0, b"x").and_then(|()| disk.sync(FILE)).and_then(|()| disk.promote_all());
        disk.crash();
        (done.is_ok(), disk.torn())
    };
    assert_eq!(commit(Some(true)), (false, 1));
    assert_eq!(commit(None), (true, 1), "it is the next commit, and no other");
    assert_eq!(commit(Some(true)), (true, 1), "it is the same fault, while others come and go");
    assert_eq!(commit(Some(false)), (true, 1));
    assert_eq!(commit(Some(true)), (false, 2));
}

#[test]
fn another_commit_that_was_under_way_is_not_called_done_by_a_torn_one() {
    let mut disk = disk();
    disk.create("other").unwrap();
    tearing(&mut disk, 1);
    for name in [FILE, "other"] {
        disk.write(name, 0, b"x").unwrap();
        disk.sync(name).unwrap();
    }
    assert!(disk.promote(FILE).is_err());
    assert!(disk.promote("other").is_err(), "its bytes went with the torn write");
}

#[test]
fn rot_turns_over_the_bits_it_names_now_and_after_a_power_loss() {
    let mut hit = BTreeSet::new();
    for seed in 0..50 {
        let mut disk = disk();
        disk.create("long").unwrap();
        disk.write(FILE, 0, &[0; 64]).unwrap();
        disk.write("long", 0, &[0; 640]).unwrap();
        disk.sync(FILE).unwrap();
        disk.sync("long").unwrap();
        disk.promote_all().unwrap();
        let flips = disk.rot(&Dice::new(seed), 0);
        for after_power_loss in [false, true] {
            if after_power_loss {
                disk.power_loss(&Dice::new(seed), 0);
            }
            let mut found = BTreeSet::new();
            for file in [FILE, "long"] {
                let mut content = vec![0; disk.len(file).unwrap() as usize];
                disk.read(file, 0, &mut content).unwrap();
                let bits = (0..content.len() * 8).filter(|bit| content[bit / 8] >> (bit % 8) & 1 == 1);
                found.extend(bits.map(|bit| Flip { file: file.into(), offset: bit / 8, bit: (bit % 8) as u8 }));
            }
            assert_eq!(found, flips, "seed {seed}");
        }
        hit.extend(flips.into_iter().map(|flip| flip.file));
    }
    assert_eq!(hit.len(), 2, "only {hit:?} rotted in 50 seeds");
}

#[test]
fn one_rot_differs_from_the_next_and_an_empty_disk_has_nothing_to_rot() {
    let rotten = |counter| {
        let mut disk = in_state(DiskState::default());
        disk.set_len(FILE, 4096).unwrap();
        disk.rot(&Dice::new(1), counter)
    };
    assert_eq!((rotten(0), rotten(0).len()), (rotten(0), 3));
    assert_ne!(rotten(0), rotten(1));
    assert!(disk().rot(&Dice::new(1), 0).is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Write(u16, u8, u8),
    SetLen(u16),
    Sync,
    Promote,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4000_u16, 1..=255_u8, any::<u8>()).prop_map(|(offset, len, byte)| Step::Write(offset, len, byte)),
        1 => (0..4000_u16).prop_map(Step::SetLen),
        2 => Just(Step::Sync),
        1 => Just(Step::Promote),
    ]
}

fn perform(disk: &mut DiskImage, step: &Step) {
    match *step {
        Step::Write(offset, len, byte) => disk.write(FILE, offset.into(), &vec![byte; len.into()]).unwrap(),
        Step::SetLen(len) => disk.set_len(FILE, len.into()).unwrap(),
        Step::Sync => disk.sync(FILE).unwrap(),
        Step::Promote => disk.promote(FILE).unwrap(),
    }
}

proptest! {
    #[test]
    fn after_sync_and_promotion_nothing_is_lost(steps in prop::collection::vec(step(), 0..40), seed: u64) {
        let mut disk = disk();
        steps.iter().for_each(|step| perform(&mut disk, step));
        let before = content(&disk);
        disk.sync(FILE).unwrap();
        disk.promote(FILE).unwrap();
        prop_assert_eq!(disk.power_loss(&Dice::new(seed), 0), Loss::default());
        prop_assert_eq!(content(&disk), before);
    }

    #[test]
    fn a_torn_sector_is_whole_from_one_side_of_one_sync(
        steps in prop::collection::vec(step(), 0..40), seed: u64,
    ) {
        let mut disk = disk();
        // What the file was at each moment a power loss may go back to: the last promotion, and each sync after it.
        let mut states = vec![Vec::new()];
        for step in &steps {
            perform(&mut disk, step);
            match step {
                Step::Sync => states.push(content(&disk)),
                Step::Promote => drop(states.drain(..states.len() - 1)),
                Step::Write(..) | Step::SetLen(_) => {}
            }
        }
        states.push(content(&disk));
        disk.power_loss(&Dice::new(seed), 0);
        let survivor = content(&disk);
        let fits = states.windows(2).any(|pair| {
            survivor.chunks(SECTOR).enumerate().all(|(sector, found)| {
                let from = |state: &[u8]| {
                    let mut bytes: Vec<u8> = state.iter().skip(sector * SECTOR).take(SECTOR).copied().collect();
                    bytes.resize(found.len(), 0);
                    bytes
                };
                // Where the two sides' lengths differ within a sector, a kept shorter side overlays the other's start.
                let overlaid = {
                    let mut bytes = from(&pair[0]);
                    let new: Vec<u8> = pair[1].iter().skip(sector * SECTOR).take(found.len()).copied().collect();
                    bytes[..new.len()].copy_from_slice(&new);
                    bytes
                };
                found == from(&pair[0]) || found == from(&pair[1]) || found == overlaid
            })
        });
        prop_assert!(fits, "the survivor mixes more than one epoch");
    }
}
