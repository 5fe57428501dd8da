use super::*;

#[test]
fn state_starts_with_nothing() {
    assert_eq!(State::default(), State::Fresh);
}

#[test]
fn every_helper_has_a_class_and_a_protocol() {
    for kind in HelperKind::ALL {
        let defaults = kind.helper().defaults();
        assert!(!defaults.classes.is_empty() && !defaults.l4proto.is_empty(), "{kind:?}");
        assert!(defaults.classes.iter().all(|class| class.max_expected > 0 && class.timeout_ms >= 1000), "{kind:?}");
    }
}
