"""The quick benchmarks one after the other: `make bench`. make_mouse and masking are started by name."""

from benchmarks import accuracy, import_time, memory, speed

if __name__ == "__main__":
    for benchmark in (import_time, accuracy, speed, memory):
        print(f"\n== {benchmark.__name__}")
        benchmark.main()
