//! A suite as one JSON document, for machines.

use crate::suite::SuiteRecord;

/// The document, indented, with a newline at its end.
pub fn render(suite: &SuiteRecord) -> String {
    let mut json = serde_json::to_string_pretty(suite).expect("a record has only string keys and finite numbers");
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_passing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::passing_suite()));
    }

    #[test]
    fn a_failing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::failing_suite()));
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let suite = samples::failing_suite();
        assert_eq!(serde_json::from_str::<SuiteRecord>(&render(&suite)).unwrap(), suite);
    }
}
