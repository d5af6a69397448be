//! Pages as a browser shows them.
use tenantry_reports::{html, samples};
#[test]
fn writes() {
    std::fs::create_dir_all("/tmp/pages").unwrap();
    let w = |n: &str, s: String| std::fs::write(format!("/tmp/pages/{n}.html"), s).unwrap();
    w("suite-fail", html::suite(&samples::failing_suite(), |r| Some(format!("{}.html", r.seed))));
    w("run-fail", html::run(&samples::report::violated()));
    w("run-pass", html::run(&samples::report::passed()));
}
