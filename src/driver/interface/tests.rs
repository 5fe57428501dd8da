use super::nearest;

#[test]
fn the_nearest_name_is_offered_only_if_it_is_near() {
    let names = ["lo".to_owned(), "eth0".to_owned(), "wan1".to_owned()];
    assert_eq!(nearest("eth1", &names).as_deref(), Some("eth0"));
    assert_eq!(nearest("wna1", &names).as_deref(), Some("wan1"));
    assert_eq!(nearest("qqqq", &names), None);
}
