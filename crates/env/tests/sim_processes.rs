//! Machines and processes of one simulated world: what they share, and what the end of one leaves behind.

use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::fs::write_atomic;
use tidemark_env::sim::{Injected, MAIN, Process, Sim};
use tidemark_env::{Env, File, OpenMode};
use tokio::sync::oneshot;

const SECOND: Duration = Duration::from_secs(1);

async fn opened(env: &Env, name: &str) -> Rc<dyn File> {
    env.fs.open(Path::new(name), OpenMode::Create).await.unwrap()
}

async fn write_durable(env: &Env, path: &str, text: &'static str) {
    write_atomic(&*env.fs, Path::new(path), text.into())
        .await
        .unwrap();
}

async fn text(env: &Env, path: &str) -> Option<String> {
    let file = env.fs.open(Path::new(path), OpenMode::Read).await.ok()?;
    let bytes = file
        .read_at(0, file.size().await.unwrap() as usize)
        .await
        .unwrap();
    Some(String::from_utf8(bytes.into()).unwrap())
}

/// Counts `steps` for ever, yielding between two.
fn count_steps(process: &Process) -> Rc<Cell<u64>> {
    let steps = Rc::new(Cell::new(0));
    let (env, counted) = (process.env(), steps.clone());
    process.env().spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            env.tasks.yield_now().await;
        }
    });
    steps
}

#[test]
fn machines_share_time_and_nothing_else() {
    let sim = Sim::new(1);
    sim.run(async |main: Env| {
        let (a, b) = (sim.machine("a"), sim.machine("b"));
        let (on_a, on_b) = (a.boot().env(), b.boot().env());
        write_durable(&on_a, "f", "from a").await;
        assert_eq!(text(&on_b, "f").await, None);
        assert_eq!(text(&main, "f").await, None);
        assert_eq!(text(&sim.machine("a").boot().env(), "f").await.unwrap(), "from a");
        a.set_capacity(Some(0));
        let refused = opened(&on_a, "g").await.write_at(0, vec!["x".into()]).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::StorageFull);
        write_durable(&on_b, "g", "has room").await;
        let (wall_a, wall_b) = (on_a.clock.unix_millis(), on_b.clock.unix_millis());
        a.jump_wall_clock(-5000);
        assert_eq!(on_a.clock.unix_millis(), wall_a - 5000);
        assert_eq!(on_b.clock.unix_millis(), wall_b);
        assert_eq!(on_a.clock.now(), on_b.clock.now());
    });
    assert_eq!(sim.fault_counts().get(Injected::ClockJump), 1);
    assert_eq!(sim.fault_counts().get(Injected::NoSpace), 1);
}

#[test]
fn tasks_of_two_processes_wake_each_other_and_the_death_of_one_is_noticed() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.run(async |_| {
            let (a, b) = (sim.machine("a").boot(), sim.machine("b").boot());
            let (ask, asked) = oneshot::channel::<oneshot::Sender<u32>>();
            let clock = b.env().clock;
            b.env().spawn(async move {
                let reply = asked.await.unwrap();
                clock.sleep(SECOND).await;
                reply.send(7).unwrap();
                // Never answers the second question.
                std::future::pending::<()>().await;
            });
            let (done, result) = oneshot::channel();
            a.env().spawn(async move {
                let (reply, answer) = oneshot::channel();
                ask.send(reply).unwrap();
                done.send(answer.await).unwrap();
            });
            assert_eq!(result.await.unwrap(), Ok(7));
            let (held, dropped) = oneshot::channel::<()>();
            b.env().spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            b.kill();
            assert!(dropped.await.is_err(), "the task that held the other end is gone");
        });
    }
}

#[test]
fn a_killed_process_is_gone_at_once_and_the_others_live_on() {
    let sim = Sim::new(2);
    sim.run(async |main: Env| {
        let machine = sim.machine("a");
        let (one, two) = (machine.boot(), machine.boot());
        let file = opened(&one.env(), "f").await;
        file.write_at(0, vec!["kept".into()]).await.unwrap();
        let (steps_of_one, steps_of_two) = (count_steps(&one), count_steps(&two));
        let died = one.died();
        main.clock.sleep(SECOND).await;
        assert!(steps_of_one.get() > 0 && steps_of_two.get() > 0);
        one.kill();
        assert!(!one.is_alive() && two.is_alive());
        let (at_one, at_two) = (steps_of_one.get(), steps_of_two.get());
        died.await;
        let refused = file.read_at(0, 4).await.unwrap_err();
        assert!(refused.to_string().contains("has ended"), "{refused}");
        assert!(one.env().fs.list(Path::new("/")).await.is_err());
        let ran = Rc::new(Cell::new(false));
        let run = ran.clone();
        one.env().spawn(async move { run.set(true) });
        main.clock.sleep(SECOND).await;
        assert_eq!(steps_of_one.get(), at_one);
        assert!(steps_of_two.get() > at_two);
        assert!(!ran.get(), "the dead start nothing");
        assert_eq!(
            text(&two.env(), "f").await.unwrap(),
            "kept",
            "a kill is no power cut"
        );
        one.kill();
    });
    assert_eq!(sim.fault_counts().get(Injected::Kill), 1);
}

#[test]
fn a_process_dies_after_so_many_polls_of_its_own_tasks() {
    for polls in [1, 2, 50] {
        let sim = Sim::new(polls);
        sim.run(async |_| {
            let (process, other) = (sim.machine("a").boot(), sim.machine("a").boot());
            let (steps, others) = (count_steps(&process), count_steps(&other));
            process.kill_after(polls);
            process.died().await;
            assert_eq!(steps.get(), polls);
            assert!(other.is_alive());
            process.kill_after(1);
            let now = others.get();
            other.kill_after(0);
            assert!(!other.is_alive() && others.get() == now);
        });
        assert_eq!(sim.fault_counts().get(Injected::Kill), 2);
    }
}

#[test]
fn a_process_stalls_once_after_so_many_polls_of_its_own_tasks() {
    for polls in [1, 2, 50] {
        let sim = Sim::new(polls);
        sim.run(async |main| {
            let (process, other) = (sim.machine("a").boot(), sim.machine("a").boot());
            let (steps, others) = (count_steps(&process), count_steps(&other));
            process.stall_after(polls, 10 * SECOND);
            main.clock.sleep(9 * SECOND).await;
            let at = others.get();
            assert_eq!(steps.get(), polls, "nothing of it runs");
            assert!(at > 50, "the others go on");
            main.clock.sleep(11 * SECOND).await;
            assert!(
                process.is_alive() && steps.get() > polls + 50,
                "it goes on, and stalls no more"
            );
        });
    }
}

#[test]
fn a_process_dies_between_a_change_and_its_sync() {
    let mut kept = 0;
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let world = sim.clone();
        kept += sim.run(async |_| {
            let machine = world.machine("a");
            let process = machine.boot();
            process.kill_upon("super.");
            let env = process.env();
            process.env().spawn(async move {
                for name in ["other", "super.0", "never"] {
                    let file = env.fs.open(Path::new(name), OpenMode::Create).await.unwrap();
                    file.write_at(0, vec![name.into()]).await.unwrap();
                    file.sync().await.unwrap();
                    env.fs.sync_dir(Path::new(".")).await.unwrap();
                }
            });
            process.died().await;
            machine.power_cut();
            let fs = machine.boot().env().fs;
            assert!(
                fs.exists(Path::new("other")).await.unwrap(),
                "it goes on until then"
            );
            assert!(!fs.exists(Path::new("never")).await.unwrap(), "and not after it");
            usize::from(fs.exists(Path::new("super.0")).await.unwrap())
        });
    }
    assert!(
        0 < kept && kept < 60,
        "{kept}: what comes next may or may not happen"
    );
}

#[test]
fn a_process_that_kills_itself_ends_after_that_poll() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    for cut_power in [false, true] {
        let (sim, dropped) = (Sim::new(3), Rc::new(Cell::new(0)));
        sim.run(async |_| {
            let machine = sim.machine("a");
            let process = machine.boot();
            let (own, mark, waits) = (
                process.clone(),
                Dropped(dropped.clone()),
                Dropped(dropped.clone()),
            );
            process.env().spawn(async move {
                let _waits = waits;
                std::future::pending::<()>().await;
            });
            process.env().spawn(async move {
                let mark = mark;
                match cut_power {
                    true => machine.power_cut(),
                    false => own.kill(),
                }
                assert_eq!(mark.0.get(), 0, "nothing is dropped under a task that runs");
                std::future::pending::<()>().await;
            });
            process.died().await;
            assert_eq!(dropped.get(), 2);
        });
    }
}

#[test]
fn processes_of_one_machine_see_each_others_locks_and_a_kill_frees_them() {
    let sim = Sim::new(4);
    let dir = Path::new("d");
    sim.run(async |_| {
        let machine = sim.machine("a");
        let (one, two) = (machine.boot(), machine.boot());
        one.env().fs.create_dir_all(dir).await.unwrap();
        let lock = one.env().fs.lock_dir(dir).await.unwrap();
        let (fs, elsewhere) = (two.env().fs, sim.machine("b").boot().env().fs);
        assert_eq!(
            fs.lock_dir(dir).await.err().unwrap().kind(),
            ErrorKind::WouldBlock
        );
        elsewhere.create_dir_all(dir).await.unwrap();
        drop(elsewhere.lock_dir(dir).await.unwrap());
        one.kill();
        let taken = fs.lock_dir(dir).await.unwrap();
        // What the dead held is not theirs to free.
        drop(lock);
        let three = machine.boot().env().fs;
        assert_eq!(
            three.lock_dir(dir).await.err().unwrap().kind(),
            ErrorKind::WouldBlock
        );
        drop(taken);
        drop(three.lock_dir(dir).await.unwrap());
    });
}

#[test]
fn what_a_killed_process_had_in_flight_happens_or_not_but_never_later() {
    let mut seen = [0, 0];
    for seed in 0..40 {
        let sim = Sim::new(seed);
        sim.run(async |main: Env| {
            let machine = sim.machine("a");
            let process = machine.boot();
            let file = opened(&process.env(), "f").await;
            file.write_at(0, vec!["old".into()]).await.unwrap();
            process.env().spawn(async move {
                let _ = file.write_at(0, vec!["new".into()]).await;
            });
            process.kill_after(1);
            process.died().await;
            let env = machine.boot().env();
            let found = text(&env, "f").await.unwrap();
            seen[usize::from(found == "new")] += 1;
            main.clock.sleep(SECOND).await;
            assert_eq!(text(&env, "f").await.unwrap(), found);
        });
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
}

#[test]
fn a_power_cut_inside_a_run_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut kept = [0, 0];
    for seed in 0..40 {
        let sim = Sim::new(seed);
        sim.run(async |_| {
            let (machine, other) = (sim.machine("a"), sim.machine("b").boot().env());
            let env = machine.boot().env();
            write_durable(&env, "synced", "surely").await;
            opened(&env, "unsynced").await;
            opened(&other, "unsynced").await;
            machine.power_cut();
            assert!(env.fs.list(Path::new("/")).await.is_err());
            let env = machine.boot().env();
            assert_eq!(text(&env, "synced").await.unwrap(), "surely");
            kept[usize::from(text(&env, "unsynced").await.is_some())] += 1;
            assert!(
                text(&other, "unsynced").await.is_some(),
                "another machine has its power"
            );
        });
        assert_eq!(sim.fault_counts().get(Injected::PowerCut), 1);
    }
    assert!(kept[0] > 5 && kept[1] > 5, "{kept:?}");
}

#[test]
#[should_panic(expected = "between two runs")]
fn the_runs_own_machine_keeps_its_power() {
    let sim = Sim::new(5);
    sim.run(async |_| sim.machine(MAIN).power_cut());
}

#[test]
fn processes_end_with_the_run_and_files_stay() {
    let sim = Sim::new(6);
    let process = sim.run(async |_| {
        let process = sim.machine("a").boot();
        write_durable(&process.env(), "f", "text").await;
        count_steps(&process);
        process
    });
    assert!(!process.is_alive());
    let found = sim.run(async |_| text(&sim.machine("a").boot().env(), "f").await);
    assert_eq!(found.unwrap(), "text");
}

#[test]
fn a_copy_of_a_directory_has_what_was_synced_and_is_durable() {
    let sim = Sim::new(7);
    sim.run(async |_| {
        let (a, b) = (sim.machine("a"), sim.machine("b"));
        let env = a.boot().env();
        tidemark_env::fs::create_dir_durable(&*env.fs, Path::new("/disk/sub"))
            .await
            .unwrap();
        write_durable(&env, "/disk/sub/f", "synced").await;
        let file = opened(&env, "/disk/sub/f").await;
        file.write_at(0, vec!["NEWER".into()]).await.unwrap();
        opened(&env, "/disk/unsynced").await;
        a.copy_dir(Path::new("/disk"), &b, Path::new("/copies/disk"))
            .unwrap();
        let again = a.copy_dir(Path::new("/disk"), &b, Path::new("/copies/disk"));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        file.sync().await.unwrap();
        b.power_cut();
        let copy = b.boot().env();
        assert_eq!(text(&copy, "/copies/disk/sub/f").await.unwrap(), "synced");
        assert_eq!(text(&copy, "/copies/disk/unsynced").await, None);
        write_durable(&copy, "/copies/disk/sub/f", "own way").await;
        assert_eq!(text(&env, "/disk/sub/f").await.unwrap(), "NEWERd");
    });
}

/// Everything that tasks of two machines noted while one of them was killed.
fn history(seed: u64) -> Vec<(usize, u64, Duration)> {
    let (sim, noted) = (Sim::new(seed), Rc::new(RefCell::new(Vec::new())));
    sim.run(async |_| {
        let processes = ["a", "b", "a"].map(|name| sim.machine(name).boot());
        for (index, process) in processes.iter().enumerate() {
            for task in 0..3 {
                let (env, noted) = (process.env(), noted.clone());
                process.env().spawn(async move {
                    let file = opened(&env, "f").await;
                    for step in 0..10 {
                        file.write_at(step * 4096, vec![vec![task; 4096].into()])
                            .await
                            .unwrap();
                        noted.borrow_mut().push((index, step, env.clock.now()));
                    }
                });
            }
        }
        processes[0].kill_after(20);
        processes[0].died().await;
        join_all(
            processes[1..]
                .iter()
                .map(|process| process.env().clock.sleep(SECOND)),
        )
        .await;
    });
    noted.take()
}

#[test]
fn a_seed_is_a_history_of_all_machines() {
    assert_eq!(history(11), history(11));
    assert_ne!(history(11), history(12));
}
