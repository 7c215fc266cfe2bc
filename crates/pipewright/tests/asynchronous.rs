//! On tokio: the same promises, no blocked thread, and nothing lost by a future that is dropped.
#![cfg(feature = "tokio")]

use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{AsyncPipe, Canceller, Command, Error, Input, OutputStream, Pipeline, Stdio};
use testing::{await_no_children, children, isolated, open_descriptors, sh, watchdog};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run<T>(future: impl Future<Output = T>) -> T {
    let _watchdog = watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn many_tasks_wait_for_one_child_while_another_kills_it() {
    run(async {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let waits = (0..16).map(|_| child.wait_async());
        let mut waits: Vec<_> = waits.map(Box::pin).collect();
        for wait in &mut waits {
            // Every one of them is under way.
            let under_way = tokio::time::timeout(Duration::from_millis(1), wait).await;
            assert!(under_way.is_err());
        }
        child.kill().unwrap();
        for wait in waits {
            assert_eq!(wait.await.unwrap().signal(), Some(9));
        }
        assert_eq!(child.wait_async().await.unwrap().signal(), Some(9));
    });
}

#[test]
fn a_pipeline_is_waited_for_with_the_status_of_each_stage() {
    run(async {
        let pipeline = sh("exit 3") | sh("exit 0") | sh("cat; exit 4").stdout(Stdio::Null);
        let status = pipeline.spawn().unwrap().wait_async().await.unwrap();
        let codes: Vec<u8> = status
            .stages()
            .iter()
            .map(|it| it.end.exit_code())
            .collect();
        assert_eq!(codes, [3, 0, 4]);
    });
}

#[test]
fn bytes_in_are_bytes_out_and_both_streams_are_drained() {
    run(async {
        let bytes: Vec<u8> = (0..8 << 20)
            .map(|index: u32| ((index * 31) >> 3) as u8)
            .collect();
        let script = "head -c 3000000 /dev/zero >&2; cat";
        let output = sh(script)
            .capture()
            .input(&bytes)
            .output_async()
            .await
            .unwrap();
        assert!(output.stdout == bytes);
        assert_eq!(output.stderr[0].len(), 3_000_000);

        let reader = Input::reader(bytes.as_slice());
        let stages = Pipeline::new((0..5).map(|_| Command::new("cat")));
        let output = stages.capture().input(reader).output_async().await.unwrap();
        assert!(output.stdout == bytes && output.success());
    });
}

#[test]
fn a_hundred_captures_run_at_once_on_one_thread() {
    if !testing::may_have_descriptors(1000) {
        return;
    }
    run(async {
        let (reader, writer) = pipewright::pipe().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let go = reader.try_clone().unwrap();
            // Each waits for the others: one that blocked the thread would block them all.
            let script = format!("read line <&3; echo {number}");
            let capture = sh(&script).fd(3, go).capture();
            tasks.spawn(async move { capture.read_async().await.unwrap() });
        }
        // Every task is under way before the first can end.
        tokio::task::yield_now().await;
        drop((reader, writer));
        let mut numbers: Vec<u32> = tasks
            .join_all()
            .await
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..100));
    });
}

#[test]
fn an_endless_output_leaves_time_for_other_tasks_and_keeps_its_deadline() {
    run(async {
        let mut time = Duration::from_millis(300);
        let said = loop {
            let capture = Command::new("yes").capture().timeout(time);
            let endless = tokio::spawn(capture.output_async());
            let mut turns = 0_u64;
            while !endless.is_finished() {
                turns += 1;
                tokio::task::yield_now().await;
            }
            assert!(turns > 1, "the other task ran");
            let error = endless.await.unwrap().unwrap_err();
            let Error::TimedOut { collected, .. } = error else {
                panic!("{error}")
            };
            // It may have had no time to be loaded.
            if !collected.stdout.is_empty() {
                break collected.stdout;
            }
            time *= 2;
        };
        assert!(said.starts_with(b"y\ny\n"));
    });
}

#[test]
fn bounds_end_an_async_capture_too() {
    run(async {
        let (leash, hold) = pipewright::pipe().unwrap();
        let error = sh("echo out; (read line <&3) & echo done")
            .fd(3, leash)
            .capture();
        let error = error
            .pipe_grace(Duration::from_millis(10))
            .output_async()
            .await
            .unwrap_err();
        let Error::PipeHeldOpen { collected, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(collected.stdout, b"out\ndone\n");
        drop(hold);

        let error = Command::new("yes")
            .capture()
            .limit(1000)
            .output_async()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::OutputTooLarge { limit: 1000, .. }));

        let canceller = Canceller::new().unwrap();
        let capture = sh("exec sleep 1000").capture().canceller(&canceller);
        let task = tokio::spawn(capture.output_async());
        tokio::task::yield_now().await;
        canceller.cancel();
        assert!(matches!(task.await.unwrap(), Err(Error::Cancelled { .. })));
    });
}

#[test]
fn stages_that_cannot_start_and_have_no_stream_are_over_at_once() {
    run(async {
        let none = || Command::new("/no/such").stderr(Stdio::Null);
        let pipeline = none() | none().stdout(Stdio::Null);
        let output = pipeline.capture().output_async().await.unwrap();
        assert_eq!(output.exit_status().code(), Some(127));
    });
}

#[test]
fn a_line_is_not_lost_when_its_future_is_dropped() {
    run(async {
        let (reader, writer) = pipewright::pipe().unwrap();
        let mut writer = writer.into_async().unwrap();
        let cat = Command::new("cat").stdin(reader);
        let mut lines = cat.capture().lines_async().unwrap();
        for number in 0..50 {
            // Dropped while it waits, with half a line there.
            writer.write_all(b"line ").await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(1), lines.next_line()).await;
            assert!(early.is_err());
            writer
                .write_all(format!("{number}\n").as_bytes())
                .await
                .unwrap();
            let line = lines.next_line().await.unwrap().unwrap();
            assert_eq!(line.text, format!("line {number}"));
        }
        drop(writer);
        assert!(lines.next_line().await.is_none());
        assert!(lines.status().unwrap().success());
    });
}

#[test]
fn async_lines_are_tagged_and_end_with_the_failure() {
    run(async {
        let capture = sh("echo out; echo err >&2; exit 5").capture();
        let mut lines = capture.tagged_lines_async().unwrap();
        let mut seen = Vec::new();
        let error = loop {
            match lines.next_line().await.unwrap() {
                Ok(line) => seen.push((line.from, line.text)),
                Err(error) => break error,
            }
        };
        seen.sort_by(|a, b| b.1.cmp(&a.1));
        let expected = [
            (OutputStream::Stdout, "out"),
            (OutputStream::Stderr(0), "err"),
        ];
        assert_eq!(seen, expected.map(|(from, text)| (from, text.to_owned())));
        assert_eq!(error.exit_code(), 5);
        assert!(lines.next_line().await.is_none());
    });
}

#[test]
fn a_dropped_capture_kills_only_when_told_so() {
    isolated("a_dropped_capture_kills_only_when_told_so", || {
        run(async {
            for kill in [true, false] {
                let (from, to) = pipewright::pipe().unwrap();
                let (go, hold) = pipewright::pipe().unwrap();
                let command = sh("echo ready >&3; read line <&4; echo ran on >&3")
                    .fd(3, to)
                    .fd(4, go);
                let mut capture = command.capture();
                if kill {
                    capture = capture.kill_on_drop();
                }
                let mut from = from.into_async().unwrap();
                let mut ready = [0; 6];
                tokio::select! {
                    _ = capture.output_async() => panic!("it does not end by itself"),
                    read = from.read_exact(&mut ready) => { read.unwrap(); }
                }
                // The future of the capture is dropped now.
                drop(hold);
                let mut rest = String::new();
                from.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, if kill { "" } else { "ran on\n" });
            }
        });
        await_no_children();
    });
}

#[test]
fn async_captures_leave_no_descriptor_and_no_zombie() {
    isolated("async_captures_leave_no_descriptor_and_no_zombie", || {
        // tokio keeps two descriptors of its own after its first runtime.
        run(async {});
        let before = open_descriptors();
        run(async {
            for _ in 0..200 {
                let read = (sh("echo x; echo y >&2") | Command::new("cat"))
                    .capture()
                    .read_async();
                assert_eq!(read.await.unwrap(), "x");
            }
        });
        assert_eq!(open_descriptors(), before);
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn an_async_capture_that_is_given_up_is_asked_to_end_first() {
    let _watchdog = watchdog();
    run(async {
        let canceller = Canceller::new().unwrap();
        let (mut ready, said) = pipewright::pipe().unwrap();
        let script = "trap 'echo tidied up; exit 9' TERM; echo >&3; while :; do sleep 0.01; done";
        let capture = sh(script).fd(3, said).capture().canceller(&canceller);
        let cancel = std::thread::spawn({
            let canceller = canceller.clone();
            move || {
                std::io::Read::read_exact(&mut ready, &mut [0]).unwrap();
                canceller.cancel();
            }
        });
        let far = std::time::Duration::from_secs(100_000);
        let error = capture.kill_after(far).output_async().await.unwrap_err();
        cancel.join().unwrap();
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert_eq!(error.collected().unwrap().stdout, b"tidied up\n");
    });
}

#[test]
fn async_lines_that_are_not_utf_8_are_lines_of_bytes() {
    let _watchdog = watchdog();
    run(async {
        let printf = Command::new("printf").arg(r"b\377d\nlast");
        let mut lines = printf.capture().lines_async().unwrap();
        let (_, line) = lines.next_bytes().await.unwrap().unwrap();
        assert_eq!(line, b"b\xffd");
        assert_eq!(lines.next_line().await.unwrap().unwrap().text, "last");
        assert!(lines.next_bytes().await.is_none());
    });
}

#[test]
fn any_number_of_tasks_wait_for_one_pipeline() {
    let _watchdog = watchdog();
    run(async {
        let running = (sh("exit 2") | Command::new("cat")).spawn().unwrap();
        let (first, second) = tokio::join!(running.wait_async(), running.wait_async());
        assert_eq!(first.unwrap().exit_code(), 2);
        assert_eq!(second.unwrap().failed_stage(), Some(0));
    });
}
