//! The fuzz targets' committed corpus, replayed without a fuzzer: what was found once stays found.

#[allow(unreachable_pub, reason = "the fuzz targets' library offers the same functions")]
#[path = "../../fuzz/src/properties.rs"]
mod properties;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_committed_input_keeps_every_property() {
    for (target, check) in properties::TARGETS {
        let files = files(&corpus().join(target));
        assert!(files.len() >= 5, "{target} has a corpus of {}", files.len());
        for file in files {
            println!("{}", file.display());
            check(&std::fs::read(file).unwrap());
        }
    }
}

/// No fuzzer, but its first thousand steps: every byte of every short input is gone, is another, or is the last.
#[test]
fn every_committed_input_bent_by_one_byte_keeps_every_property() {
    for (target, check) in properties::TARGETS {
        for file in files(&corpus().join(target)) {
            let input = std::fs::read(&file).unwrap();
            for place in (0..input.len()).take(400) {
                check(&input[..place]);
                let mut bent = input.clone();
                for byte in [0, 0x80, 0xff, b'"', b'\\', b'{', b'-', b'9', b'A', input[place] ^ 1] {
                    bent[place] = byte;
                    check(&bent);
                }
                bent.remove(place);
                check(&bent);
            }
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let targets: BTreeSet<_> = properties::TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(files(&corpus()).into_iter().map(name).collect::<BTreeSet<_>>(), targets);
    let fuzzed = files(&corpus().join("../fuzz_targets")).into_iter().map(name);
    assert_eq!(fuzzed.collect::<BTreeSet<_>>(), targets);
}

#[test]
fn the_corpus_is_small() {
    let bytes = |folder: PathBuf| files(&folder).iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    let all: u64 = files(&corpus()).into_iter().map(bytes).sum();
    assert!(all < 512 * 1024, "{all} bytes");
}
