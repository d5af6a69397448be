//! The catalogue's table: attack x entry, with counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Attack, Entry, Outcome, Verdict};

/// What became of all cells.
#[derive(Debug)]
pub struct Table(pub Vec<Outcome>);

impl Table {
    /// The cells that were breached.
    pub fn breaches(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Breach(_)))
    }

    /// How many things were tried, in how many cells.
    #[must_use]
    pub fn tried(&self) -> (usize, usize) {
        let tried = || self.0.iter().filter(|outcome| !matches!(outcome.verdict, Verdict::NotApplicable(_)));
        (tried().map(|outcome| outcome.tries).sum(), tried().count())
    }

    /// One line for people: what was tried, and how it went.
    #[must_use]
    pub fn summary(&self) -> String {
        let ((tries, cells), breached) = (self.tried(), self.breaches().count());
        let skipped = self.0.len() - cells;
        format!(
            "{tries} attempts in {cells} cells, {breached} of them breached; {skipped} cells are not tried, each with its reason"
        )
    }

    /// A Markdown table of attack x entry. A cell says how many of its attempts were refused of how many (`recognised` where
    /// a repetition is no attempt), or `-` where it is not tried; the reasons follow below.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| attack | promise | what is done |");
        Entry::ALL.iter().for_each(|entry| write!(text, " {} |", entry.name()).expect("a string grows"));
        text += "\n|---|---|---|";
        text += &"---|".repeat(Entry::ALL.len());
        text.push('\n');
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for attack in Attack::ALL {
            let (name, (about, promise)) = (attack.name(), attack.about());
            write!(text, "| {name} | {promise} | {about} |").expect("a string grows");
            for entry in Entry::ALL {
                let cells: Vec<_> = self.0.iter().filter(|cell| cell.attack == name && cell.entry == entry).collect();
                let tries: usize = cells.iter().map(|cell| cell.tries).sum();
                let sum = |is: fn(&Verdict) -> bool| -> usize {
                    cells.iter().filter(|cell| is(&cell.verdict)).map(|cell| cell.tries).sum()
                };
                let breached = sum(|verdict| matches!(verdict, Verdict::Breach(_)));
                let recognised = sum(|verdict| matches!(verdict, Verdict::Recognised));
                let verdicts = || cells.iter().map(|cell| &cell.verdict);
                let tried = verdicts().find(|verdict| !matches!(verdict, Verdict::NotApplicable(_)));
                let told = match tried.or(verdicts().next()) {
                    None => "**not tried**".to_owned(),
                    Some(Verdict::NotApplicable(reason)) => {
                        reasons.entry(reason).or_default().push(format!("{name} by {}", entry.name()));
                        "-".into()
                    }
                    Some(_) if breached > 0 => format!("**{breached} of {tries} BREACHED**"),
                    Some(_) if recognised == tries => format!("{recognised} recognised"),
                    Some(_) => format!("{tries} of {tries}"),
                };
                write!(text, " {told} |").expect("a string grows");
            }
            text.push('\n');
        }
        text += "\nWhat is not tried, and why:\n\n";
        for (reason, cells) in reasons {
            writeln!(text, "- {reason}: {}", cells.join(", ")).expect("a string grows");
        }
        text
    }
}
