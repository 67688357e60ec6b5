"""Golden values of the keyed number stream, written independently of the Rust code.

    python stream.py > random_golden.rs
"""
M = (1 << 64) - 1


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & M
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & M
    return z ^ (z >> 31)


class Stream:
    def __init__(self, seed, fields):
        data = seed.to_bytes(8, "little")
        for field in fields:
            raw = field.encode()
            data += len(raw).to_bytes(8, "little") + raw
        h = 0xCBF29CE484222325
        for byte in data:
            h = (h ^ byte) * 0x100000001B3 & M
        self.key, self.counter = mix(h), 0

    def next(self):
        self.counter += 1
        return mix((self.key + self.counter * 0x9E3779B97F4A7C15) & M)

    def below(self, n):
        while n > 1:
            x = self.next()
            if x < (1 << 64) // n * n:
                return x % n
        return 0

    def shuffle(self, items):
        for i in range(len(items)):
            j = i + self.below(len(items) - i)
            items[i], items[j] = items[j], items[i]
        return items


def rust(name, values, kind):
    body = ", ".join(str(v) if kind == "u32" else f"0x{v:016X}" for v in values)
    print(f"const {name}: [{kind}; {len(values)}] = [{body}];")


plain, keyed = Stream(0, []), Stream(7, ["ucf101", "Punch"])
rust("PLAIN", [plain.next() for _ in range(4)], "u64")
rust("KEYED", [keyed.next() for _ in range(4)], "u64")
rust("SHUFFLED", Stream(3, ["shuffle"]).shuffle(list(range(10))), "u32")
