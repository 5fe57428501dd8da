use super::*;
#[test]
fn show() {
    let text = "version: 2\nworkers: { cores: [0, 0, 9], main_core: 0, hugepages: required, idel: spin }\nports:\n  lan0: { driver: memory, addresses: [10.0.1.1/24, 10.0.2.0/24] }\n  äwan0: { driver: af_packet, addresses: [10.0.1.9/20, 1.1.1.1] }\nchains:\n  forward:\n    policy: dorp\n    rules:\n      - { iff: lan0, dport: 80, verdict: jump x }\n      - id: a\n        verdict: acept\n        oif: wan\n  x: { rules: [ {verdict: jump x, id: b} ] }\n";
    println!("{}", check(text).err().unwrap());
    println!("{}", check("a: b: c\n").err().unwrap());
    println!("{}", check("a: [b, c\n").err().unwrap());
    println!("{}", check("a:\n\tb: c\n").err().unwrap());
    println!("{}", check("a: &x b\nc: *x\nd: !foo 5\nd: {a: 1, a: 2}\n").err().unwrap());
    println!("{}", check("").err().unwrap());
    println!("{}", check("a: 1\n---\nb: 1\n").err().unwrap());
    println!("{}", check("a: 'x\n").err().unwrap());
}
