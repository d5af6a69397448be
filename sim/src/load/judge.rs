//! Is a load good enough, and what else must be known to read it.

use tenantry_reports::load::{LoadReport, Search, Threshold};
use tenantry_reports::text::{count, grouped};
use tenantry_reports::verdict::SuiteVerdict;

/// What the figures alone don't say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances<'a> {
    /// What broke, if something did: a role ended by itself.
    pub failed: Option<&'a str>,
    /// Whether someone stopped it.
    pub stopped: bool,
    /// Outcomes that were asked for later than they could have been.
    pub followed_late: u64,
    /// Whether who may do what is the load's own to say.
    pub own: bool,
}

/// Whether all of them are met; `None` if that can't be told. Nothing demanded is met.
#[must_use]
pub fn all_met(thresholds: &[Threshold]) -> Option<bool> {
    if thresholds.iter().any(|threshold| threshold.met == Some(false)) {
        return Some(false);
    }
    thresholds.iter().all(|threshold| threshold.met == Some(true)).then_some(true)
}

/// Judges `report` by its figures and thresholds, and notes why. A threshold that is missed outweighs one that can't be told: the
/// one is certain.
pub fn load(report: &mut LoadReport, circumstances: &Circumstances<'_>) {
    let mut verdict = match all_met(&report.thresholds) {
        Some(true) => SuiteVerdict::Pass,
        Some(false) => SuiteVerdict::Threshold,
        None => SuiteVerdict::Inconclusive,
    };
    let mut notes = Vec::new();
    for threshold in &report.thresholds {
        match threshold.met {
            Some(true) => {}
            Some(false) => notes.push(format!("{} is not met: {}.", threshold.demanded, threshold.measured)),
            None => notes.push(format!("{} can't be told: {}.", threshold.demanded, threshold.measured)),
        }
    }
    if report.commands.accepted == 0 {
        verdict = verdict.max(SuiteVerdict::Inconclusive);
        notes.push("Nothing was confirmed, so nothing was measured.".to_owned());
    }
    if circumstances.stopped {
        verdict = verdict.max(SuiteVerdict::Inconclusive);
        notes.push("It was stopped before its end; these are the figures up to then.".to_owned());
    }
    let wrongly = report.sending.accepted_wrongly;
    if wrongly > 0 {
        verdict = verdict.max(SuiteVerdict::Violated);
        notes.push(format!(
            "{} that nobody may send was confirmed: G2-authority is violated.",
            count(wrongly, "command")
        ));
    }
    if let Some(why) = circumstances.failed {
        verdict = SuiteVerdict::Failed;
        notes.push(format!("The system under load failed: {why}."));
    }
    let limited: u64 = report.refusals.iter().filter(|of| of.reason.starts_with("429")).map(|of| of.count).sum();
    if limited > 0 {
        let what = "rate limits refused them: what was measured is what they let through";
        notes.push(format!("{} of {} commands: {what}.", grouped(limited), grouped(report.sending.intended)));
    }
    let forbidden = report.refusals.iter().any(|of| of.reason.starts_with("401") || of.reason.starts_with("403"));
    if forbidden && !circumstances.own {
        notes.push("The operator may not do all that the load presumes: an admin of each tenant may.".to_owned());
    }
    if circumstances.followed_late > 0 {
        let late = count(circumstances.followed_late, "outcome");
        notes.push(format!(
            "{late} were asked for late, for want of a free place, and are told as later than they were."
        ));
    }
    report.verdict = verdict;
    report.notes = notes;
}

/// Judges a `report` that is the last step of `search`: it passes if some rate met the thresholds.
pub fn search(report: &mut LoadReport, search: &Search) {
    if matches!(report.verdict, SuiteVerdict::Violated | SuiteVerdict::Failed) {
        return;
    }
    let can_tell = search.steps.iter().all(|step| step.met.is_some());
    let stopped = report.notes.iter().any(|note| note.starts_with("It was stopped"));
    report.verdict = match search.highest_met {
        _ if stopped => SuiteVerdict::Inconclusive,
        Some(_) => SuiteVerdict::Pass,
        None if can_tell => SuiteVerdict::Threshold,
        None => SuiteVerdict::Inconclusive,
    };
    let own = search.steps.iter().any(|step| step.met != Some(true) && step.bottleneck.is_some());
    if own {
        report.notes.push(
            "At a rate that missed, the generator itself was the bottleneck: the system may bear more than was found."
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use tenantry_reports::samples::load::load as sample;

    use super::*;

    fn judged(met: &[Option<bool>], with: impl Fn(&mut LoadReport), circumstances: &Circumstances<'_>) -> u8 {
        let mut report = sample();
        let threshold = |met| Threshold { demanded: "p99<1ms".into(), measured: "2 ms".into(), met };
        report.thresholds = met.iter().copied().map(threshold).collect();
        with(&mut report);
        load(&mut report, circumstances);
        report.verdict.exit_code()
    }

    #[test]
    fn the_exit_code_says_what_became_of_it() {
        let calm = Circumstances::default();
        assert_eq!(judged(&[], |_| {}, &calm), 0);
        assert_eq!(judged(&[Some(true), Some(true)], |_| {}, &calm), 0);
        assert_eq!(judged(&[Some(true), Some(false), None], |_| {}, &calm), 3);
        assert_eq!(judged(&[Some(true), None], |_| {}, &calm), 4);
        assert_eq!(judged(&[], |report| report.commands.accepted = 0, &calm), 4);
        assert_eq!(judged(&[], |_| {}, &Circumstances { stopped: true, ..calm }), 4);
        assert_eq!(judged(&[Some(false)], |report| report.sending.accepted_wrongly = 1, &calm), 1);
        assert_eq!(judged(&[], |_| {}, &Circumstances { failed: Some("broker ended"), ..calm }), 70);
    }
}
