//! How much of a processor this process has used.

use std::time::Duration;

/// Ticks a second in what Linux tells: its interface has had 100 on every machine since long ago.
const TICKS_A_SECOND: u64 = 100;

/// So far, in user and in kernel mode; `None` where the operating system does not say.
pub(super) fn used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    parse(&stat)
}

/// proc(5): after the name, which may hold anything but ends with the last parenthesis, user time is the 12th field and system
/// time the 13th.
fn parse(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_move_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 4 0 100 1000 10";
        assert_eq!(parse(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(parse("7"), None);
    }
}
