"""A slow, lossy link between two network devices, for kernels without netem.

    slow_link.py FROM TO DELAY_MS LOSS_PERCENT

Ethernet frames that come out of FROM reach TO after the delay, or never; those that come out of TO
reach FROM at once. Checksums and segments must be made by the senders: their offloads are off.
Which frames are lost is drawn with a fixed seed.
"""

import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
FRAME_MAX = 65536


def open_device(name):
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.bind((name, ETH_P_ALL))
    device.setblocking(False)
    return device


def send(device, frame):
    # What does not fit into the device's queue is lost, as on a real link.
    try:
        device.send(frame)
    except OSError:
        pass


def frames(device):
    while True:
        try:
            frame, (_, _, kind, *_) = device.recvfrom(FRAME_MAX)
        except BlockingIOError:
            return
        if kind != socket.PACKET_OUTGOING:
            yield frame


def main():
    slow, fast = open_device(sys.argv[1]), open_device(sys.argv[2])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    dice = random.Random(1)
    waiting, count = [], 0
    print("ready", flush=True)
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([slow, fast], [], [], patience)
        if fast in readable:
            for frame in frames(fast):
                send(slow, frame)
        if slow in readable:
            due = time.monotonic() + delay
            for frame in frames(slow):
                if dice.random() >= loss:
                    count += 1
                    heapq.heappush(waiting, (due, count, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            send(fast, heapq.heappop(waiting)[2])


main()
