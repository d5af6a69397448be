//! Ranges of seeds as the command line spells them: `A..B`, both ends included.

use std::ops::RangeInclusive;

/// The most seeds in one call.
const SEEDS_MAX: u64 = 10_000_000;

/// Reads `A..B`.
pub(super) fn parse(text: &str) -> Result<RangeInclusive<u64>, String> {
    let right = "write A..B, both ends included, such as 1..20";
    let (first, last) = text.split_once("..").ok_or(right)?;
    let number = |part: &str| part.parse::<u64>().map_err(|_| format!("{part:?} is no seed; {right}"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first}..{last} is empty; {right}"));
    }
    if last - first >= SEEDS_MAX {
        return Err(format!("{first}..{last} is more than {SEEDS_MAX} seeds"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_included_and_nonsense_is_refused() {
        assert_eq!(parse("1..20"), Ok(1..=20));
        assert_eq!(parse("7..7"), Ok(7..=7));
        for text in ["", "5", "5..", "..5", "9..1", "1..=3", "a..b", "-1..3", "0..18446744073709551615"] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
