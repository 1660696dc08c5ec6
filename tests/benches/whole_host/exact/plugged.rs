//! A CPU goes and comes back: the capture goes on, samples it again, and misses no tick.

use std::time::Duration;

use crate::hotplug::capture_across;

#[test]
fn a_cpu_goes_and_comes_back_and_every_tick_is_accounted_for() {
    let (capture, worked) = capture_across(Duration::from_secs(4));
    for one in &worked {
        let (samples, _) = capture.profile(one.target.pid()).cumulative("burn");
        assert!(samples > 0, "{}: no sample", one.when);
    }
    // What became of each tick adds up to what was delivered, on the CPU that went as well.
    let ticks = &capture.json["ticks"];
    let count = |name: &str| ticks[name].as_u64().unwrap_or_else(|| panic!("{name} in {ticks}"));
    let lost: u64 = ["not_chained", "no_scratch"].map(|name| capture.loss(name)).iter().sum();
    let known = count("idle") + count("other") + count("on_python") + lost;
    assert_eq!(known, count("delivered"), "{ticks}");
}
