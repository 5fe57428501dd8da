use super::*;

fn granted(limiter: &mut IcmpLimiter, now: Now, tries: u32) -> u32 {
    (0..tries).filter(|_| limiter.allow(now)).count() as u32
}

#[test]
fn a_burst_then_the_rate() {
    let mut l = IcmpLimiter::default();
    assert_eq!(granted(&mut l, Now::from_secs(1), 200), 50);
    assert_eq!(l.refused(), 150);
    assert_eq!(granted(&mut l, Now::from_secs(1).plus_millis(10), 200), 10);
    // A long pause fills the bucket, not more.
    assert_eq!(granted(&mut l, Now::from_secs(1000), 200), 50);
    let mut sum = 0;
    for ms in 0..1000 {
        sum += granted(&mut l, Now::from_secs(2000).plus_millis(ms), 5);
    }
    assert_eq!(sum, 50 + 999);
}

#[test]
fn starts_full_whatever_the_clock_says_and_ignores_a_clock_that_goes_back() {
    let mut l = IcmpLimiter::new(10, 2);
    assert_eq!(granted(&mut l, Now(0), 5), 2);
    assert_eq!(granted(&mut l, Now::from_millis(100), 5), 1);
    assert_eq!(granted(&mut l, Now::from_millis(50), 5), 0);
    assert_eq!(granted(&mut l, Now::from_millis(150), 5), 0);
    assert_eq!(granted(&mut l, Now::from_millis(200), 5), 1);
}

#[test]
fn no_rate_means_never() {
    let mut l = IcmpLimiter::new(0, 50);
    assert_eq!(granted(&mut l, Now::from_secs(100), 5), 0);
    assert_eq!(l.refused(), 5);
}
