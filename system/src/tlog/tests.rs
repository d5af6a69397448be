//! Published vectors, another's code, and every size up to three tiles.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// A tree of `size` entries `0`, `1`, ...: its edge after each append, and the hashes in its tiles.
fn grown(size: u64) -> (Vec<Frontier>, BTreeMap<(u8, u64), Hash>) {
    let (mut edges, mut hashes) = (vec![Frontier::default()], BTreeMap::new());
    for number in 0..size {
        let mut edge = edges[number as usize].clone();
        let kept = |level, index, hash| {
            assert_eq!(hashes.insert((level, index), hash), None, "a hash is kept once");
            Ok::<_, Infallible>(())
        };
        edge.append(leaf_hash(number.to_string().as_bytes()), kept).unwrap();
        edges.push(edge);
    }
    (edges, hashes)
}

fn reader(hashes: &BTreeMap<(u8, u64), Hash>) -> impl Fn(u8, u64) -> Result<Hash, (u8, u64)> {
    |level, index| hashes.get(&(level, index)).copied().ok_or((level, index))
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(tlog_tiles::Hash).collect()
}

#[test]
fn the_roots_are_those_of_certificate_transparencys_own_vectors() {
    let entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Frontier::default();
    let mut found = vec![hex::encode(edge.root())];
    for entry in entries {
        let kept = |_, _, _| Ok::<_, Infallible>(());
        edge.append(leaf_hash(&hex::decode(entry).unwrap()), kept).unwrap();
        found.push(hex::encode(edge.root()));
    }
    assert_eq!(found, roots);
}

#[test]
fn anothers_code_believes_our_proofs_in_every_tree_up_to_three_tiles_and_each_edge_can_be_read_back() {
    let (edges, hashes) = grown(700);
    let read = reader(&hashes);
    let root = |size: u64| tlog_tiles::Hash(edges[size as usize].root());
    for size in 1..=700 {
        let (index, old, edge) = ((size * size / 3) % size, 1 + (size * size / 5) % size, &edges[size as usize]);
        let leaf = tlog_tiles::record_hash(index.to_string().as_bytes());
        let proof = theirs(&inclusion_proof(index, size, &read).unwrap());
        tlog_tiles::check_record(&proof, size, root(size), index, leaf).unwrap();
        let proof = theirs(&consistency_proof(old, size, &read).unwrap());
        tlog_tiles::check_tree(&proof, size, root(size), old, root(old)).unwrap();
        assert_eq!(Frontier::at(size, &read).as_ref(), Ok(edge), "size {size}");
        assert_eq!(Frontier::from_bytes(&edge.to_bytes()).as_ref(), Some(edge), "size {size}");
    }
    let bytes = edges[700].to_bytes();
    assert_eq!(Frontier::from_bytes(&bytes[..bytes.len() - 1]), None);
    assert_eq!(Frontier::from_bytes(&bytes[..bytes.len() - 32]), None);
}

#[test]
fn tiles_have_their_published_paths_and_no_other_spelling() {
    let paths = [
        (Tile { level: 0, index: 0, width: 256 }, "tile/0/000"),
        (Tile { level: 1, index: 1_234_067, width: 256 }, "tile/1/x001/x234/067"),
        (Tile { level: 0, index: 273, width: 112 }, "tile/0/273.p/112"),
        (Tile { level: 63, index: 1000, width: 1 }, "tile/63/x001/000.p/1"),
    ];
    for (tile, path) in paths {
        assert_eq!((tile.to_string().as_str(), Tile::parse(path)), (path, Some(tile)));
        // Theirs are sumdb's, which name the height too.
        let sumdb = path.replacen("tile/", "tile/8/", 1);
        assert_eq!(tlog_tiles::Tile::from_path(&sumdb).unwrap().path(), sumdb);
    }
    let others = [
        "tile/0/0",
        "tile/00/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/05",
        "tile/0/x000/000",
        "tile/64/000",
        "tile/0/001/000",
        "tile/0/+01",
        "tile/-1/000",
        "tile/0/",
        "tile/0",
        "tile/entries/000",
        "tile/0/000/",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p/257",
    ];
    for path in others {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

#[test]
fn a_tree_has_exactly_the_tiles_whose_hashes_it_keeps() {
    for size in [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 131_072] {
        let tiles: Vec<_> = Tile::all(size).collect();
        let hashes: u64 = tiles.iter().map(|tile| u64::from(tile.width)).sum();
        let kept: u64 = (0..8).map(|level| size >> (8 * level)).sum();
        assert_eq!(hashes, kept, "size {size}: {tiles:?}");
    }
    assert_eq!(Tile::all(65_537).filter(|tile| tile.level == 2).count(), 1);
    assert_eq!(Tile::all(u64::MAX).take(3).count(), 3);
}

const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SAYING: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const SIGNED: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
     \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn the_note_of_the_go_documentation_opens_with_its_key() {
    let key = LogKey::parse(PETER).unwrap();
    assert_eq!(key.open(SIGNED), Ok(SAYING));
    assert_eq!(key.to_string(), PETER);
    let forged = SIGNED.replace("problem is", "problem was");
    assert_eq!(key.open(&forged), Err(NoteError::BadSignature("PeterNeumann+c74f20a3".into())));
}

#[test]
fn no_note_with_a_flipped_bit_opens() {
    let key = LogKey::parse(PETER).unwrap();
    for bit in 0..SIGNED.len() * 8 {
        let mut flipped = SIGNED.as_bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(flipped) {
            assert!(key.open(&text).is_err(), "bit {bit}: {text}");
        }
    }
}

#[test]
fn a_key_of_which_a_part_was_changed_is_refused() {
    for (from, to) in
        [("Peter", "Petra"), ("c74f", "c74e"), ("ARpc", "ARpd"), ("ARpc", "Agpc"), ("+AR", "AR"), ("P", " P")]
    {
        assert!(LogKey::parse(&PETER.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}

#[test]
fn anothers_code_opens_our_checkpoints_and_we_tell_another_key_and_another_origin() {
    let signer = Signer::from_seed("tenantry.example/audit", &[7; 32]).unwrap();
    let (key, checkpoint) = (
        signer.public(),
        Checkpoint {
            origin: "tenantry.example/audit".into(),
            size: 3,
            root: [9; 32],
            extension: Some("records-from 2".into()),
        },
    );
    let note = checkpoint.sign(&signer);
    assert_eq!(Checkpoint::open(&note, key), Ok(checkpoint.clone()));

    let verifier = signed_note::StandardVerifier::new(&key.to_string()).unwrap();
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let verifiers = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let (verified, unverified) = theirs.verify(&verifiers).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let theirs = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), ("tenantry.example/audit", 3, [9; 32]));
    assert_eq!(theirs.extension(), "records-from 2\n");

    let other = Signer::from_seed("tenantry.example/audit", &[8; 32]).unwrap();
    assert!(matches!(Checkpoint::open(&note, other.public()), Err(CheckpointError::Note(NoteError::OtherKey { .. }))));
    let foreign = Checkpoint { origin: "elsewhere.example/audit".into(), ..checkpoint }.sign(&signer);
    assert!(matches!(Checkpoint::open(&foreign, key), Err(CheckpointError::OtherOrigin { .. })));
    assert!(Signer::from_seed("a log", &[7; 32]).is_none());
}

proptest! {
    #[test]
    fn an_entrys_proof_holds_for_it_and_for_nothing_else(size in 1_u64..600, at in any::<prop::sample::Index>(), spoilt in 0_u8..4) {
        let (edges, hashes) = grown(size);
        let index = at.index(size as usize) as u64;
        let (root, leaf) = (edges[size as usize].root(), hashes[&(0, index)]);
        let mut proof = inclusion_proof(index, size, &reader(&hashes)).unwrap();
        prop_assert!(inclusion_proof_holds(&proof, index, leaf, size, &root));
        let holds = match spoilt {
            0 => inclusion_proof_holds(&proof, index ^ 1, leaf, size, &root),
            1 => inclusion_proof_holds(&proof, index, [1; 32], size, &root),
            2 => { proof.push([0; 32]); inclusion_proof_holds(&proof, index, leaf, size, &root) }
            _ => match proof.pop() {
                Some(_) => inclusion_proof_holds(&proof, index, leaf, size, &root),
                None => inclusion_proof_holds(&proof, index, leaf, size, &[0; 32]),
            },
        };
        prop_assert!(!holds);
    }

    #[test]
    fn a_trees_proof_holds_against_its_past_and_against_no_other(new in 1_u64..600, at in any::<prop::sample::Index>(), forked in any::<bool>()) {
        let (edges, hashes) = grown(new);
        let old = 1 + at.index(new as usize) as u64;
        let (before, after) = (edges[old as usize].root(), edges[new as usize].root());
        let proof = consistency_proof(old, new, &reader(&hashes)).unwrap();
        prop_assert!(consistency_proof_holds(&proof, old, &before, new, &after));
        let (before, after) = if forked { ([1; 32], after) } else { (before, [1; 32]) };
        prop_assert!(!consistency_proof_holds(&proof, old, &before, new, &after));
    }
}
