//! Rounds, seeds, and what happens when a target breaks.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};

/// Longest that one input may take, in a debug build on a busy machine.
const SLOW: Duration = Duration::from_secs(20);
/// From here on the slowest input of a target is kept in `target/tmp`, to be looked at.
const WATCHED: Duration = Duration::from_millis(200);
/// Inputs with a new outcome that are kept as seeds.
const KEPT: usize = 4000;

/// What is fuzzed.
pub struct Target {
    /// Seeds besides the files of the corpus.
    pub seeds: Vec<Vec<u8>>,
    /// Takes an input; panics when a promise is broken. What it returns tells outcomes apart.
    pub run: Box<Run>,
}

type Run = dyn Fn(&[u8]) -> u64;

/// A number for an outcome: digits in messages are places, which say nothing new.
pub fn outcome(of: impl std::fmt::Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{of:?}").chars().filter(|c| !c.is_ascii_digit()).take(400).collect::<String>().hash(&mut hasher);
    hasher.finish()
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Plays the corpus, then so many rounds, or for as long as `FUZZ_SECONDS` says.
pub fn fuzz(name: &str, rounds: u64, target: Target) {
    let start = Instant::now();
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let mut slowest = Duration::ZERO;
    let mut seeds = Vec::new();
    let mut outcomes = HashSet::new();
    for (path, bytes) in corpus(name) {
        outcomes.insert(play(name, &target, &bytes, &path.display().to_string(), &mut slowest));
        seeds.push(bytes);
    }
    for bytes in &target.seeds {
        outcomes.insert(play(name, &target, bytes, "a seed", &mut slowest));
    }
    seeds.extend(target.seeds.iter().cloned());
    let given = seeds.len();
    let mut random = Random(number("FUZZ_SEED").unwrap_or(0x61_73_6d));
    let mut round = 0;
    while limit.map_or(round < rounds, |limit| start.elapsed() < limit) {
        let input = mutate(
            &mut random,
            random_seed(&mut Random(round ^ 0x5eed), &seeds, given),
            &seeds[(round as usize * 7) % seeds.len()],
        );
        if outcomes.insert(play(name, &target, &input, &format!("round {round}"), &mut slowest))
            && seeds.len() < given + KEPT
            && input.len() < 1 << 16
        {
            seeds.push(input);
        }
        round += 1;
    }
    println!(
        "fuzz {name}: {round} rounds in {:.0} s, {} outcomes, slowest {} ms, no crash",
        start.elapsed().as_secs_f64(),
        outcomes.len(),
        slowest.as_millis()
    );
}

/// Half of the time one that was given, so that what was found does not crowd it out.
fn random_seed<'s>(random: &mut Random, seeds: &'s [Vec<u8>], given: usize) -> &'s [u8] {
    let among = if random.chance(2) { given } else { seeds.len() };
    &seeds[random.below(among)]
}

fn play(name: &str, target: &Target, input: &[u8], whence: &str, slowest: &mut Duration) -> u64 {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = start.elapsed();
    if took > *slowest {
        *slowest = took;
        if took > WATCHED {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("slow-{name}"));
            std::fs::write(&path, input).unwrap();
        }
    }
    match result {
        Ok(outcome) if took < SLOW => outcome,
        end => {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{:016x}", outcome(input)));
            std::fs::write(&path, input).unwrap();
            let what = if end.is_err() { "breaks" } else { "takes too long" };
            panic!("{name} {what} on {whence}: see {} ({took:?})", path.display());
        }
    }
}
