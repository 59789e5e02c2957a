//! The simulated world's executor: one seed is one history, time is virtual, waiting for ever is found.

use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{Env, OpenMode};

/// The order in which ten tasks pass three points each.
fn order(seed: u64) -> Vec<(usize, usize)> {
    let passed = Rc::new(RefCell::new(Vec::new()));
    Sim::new(seed).run(async |env: Env| {
        for task in 0..10 {
            let (passed, env_of_task) = (passed.clone(), env.clone());
            env.spawn(async move {
                for point in 0..3 {
                    env_of_task.tasks.yield_now().await;
                    passed.borrow_mut().push((task, point));
                }
            });
        }
        env.clock.sleep(Duration::from_secs(1)).await;
    });
    passed.take()
}

#[test]
fn a_seed_is_a_history_and_another_seed_another() {
    assert_eq!(order(7), order(7));
    assert_ne!(order(7), order(8));
    assert_eq!(order(7).len(), 30);
}

#[test]
fn operations_overlap_and_complete_in_any_order() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let completed = RefCell::new(Vec::new());
        Sim::new(seed).run(async |env: Env| {
            let file = env.fs.open(Path::new("f"), OpenMode::CreateNew).await.unwrap();
            join_all((0..4u64).map(|n| {
                let (file, completed) = (file.clone(), &completed);
                async move {
                    file.write_at(n * 4096, vec![vec![1; 4096].into()]).await.unwrap();
                    completed.borrow_mut().push(n);
                }
            }))
            .await;
        });
        orders.insert(completed.into_inner());
    }
    assert!(orders.len() > 5, "{orders:?}");
}

#[test]
fn time_jumps_and_the_wall_clock_can_be_set() {
    let sim = Sim::new(1);
    sim.run(async |env: Env| {
        let (now, wall) = (env.clock.now(), env.clock.unix_millis());
        env.clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(env.clock.now() - now, Duration::from_secs(3600));
        assert_eq!(env.clock.unix_millis() - wall, 3_600_000);
        sim.jump_wall_clock(-7_200_000);
        assert_eq!(env.clock.unix_millis() - wall, -3_600_000);
        assert_eq!(env.clock.now() - now, Duration::from_secs(3600));
    });
}

#[test]
fn waiting_for_ever_is_a_panic_that_names_the_seed() {
    let failed = catch_unwind(AssertUnwindSafe(|| {
        Sim::new(4711).run(|_| std::future::pending::<()>())
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("4711"), "{message}");
}

#[test]
fn a_run_that_is_cut_off_drops_its_tasks_and_kills_its_handles() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let (sim, dropped) = (Sim::new(3), Rc::new(Cell::new(0)));
    let kept = Rc::new(RefCell::new(None));
    let ended = sim.run_for(Duration::from_secs(5), async |env: Env| {
        *kept.borrow_mut() = Some(env.fs.open(Path::new("f"), OpenMode::Create).await.unwrap());
        for _ in 0..3 {
            let mark = Dropped(dropped.clone());
            env.spawn(async move {
                std::future::pending::<()>().await;
                drop(mark);
            });
        }
        std::future::pending::<()>().await;
    });
    assert!(ended.is_none());
    assert_eq!(dropped.get(), 3);
    let file = kept.borrow_mut().take().unwrap();
    let refused = sim.run(async |_| file.size().await);
    assert!(refused.unwrap_err().to_string().contains("has ended"));
    assert!(
        sim.run_steps(1, async |env: Env| env.clock.sleep(Duration::from_secs(1)).await)
            .is_none()
    );
}

#[test]
fn computation_returns_its_result() {
    let sum = Sim::new(5).run(async |env: Env| env.compute(|| (1..=100u64).sum::<u64>()).await);
    assert_eq!(sum, 5050);
}

#[test]
fn a_lock_is_freed_by_its_drop_and_by_the_end_of_the_run() {
    let sim = Sim::new(6);
    sim.run(async |env: Env| {
        let dir = Path::new("d");
        env.fs.create_dir_all(dir).await.unwrap();
        let lock = env.fs.lock_dir(dir).await.unwrap();
        assert_eq!(
            env.fs.lock_dir(dir).await.err().unwrap().kind(),
            std::io::ErrorKind::WouldBlock
        );
        drop(lock);
        std::mem::forget(env.fs.lock_dir(dir).await.unwrap());
    });
    sim.run(async |env: Env| drop(env.fs.lock_dir(Path::new("d")).await.unwrap()));
}

#[test]
fn a_task_that_only_yields_does_not_stop_time() {
    Sim::new(11).run(async |env: Env| {
        let ended = Rc::new(Cell::new(false));
        let (set, clock) = (ended.clone(), env.clock.clone());
        env.spawn(async move {
            clock.sleep(Duration::from_secs(5)).await;
            set.set(true);
        });
        while !ended.get() {
            env.tasks.yield_now().await;
        }
    });
}
