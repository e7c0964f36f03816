"""webrtc.py publish|play URL: a WHIP publisher or a WHEP player over aiortc, which encodes and decodes for real.

A line of JSON twice a second says how far it is. SIGTERM ends the session by DELETE.
"""

import asyncio
import fractions
import json
import logging
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request

import av
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack

WIDTH, HEIGHT, FRAMES_PER_SECOND = 160, 120, 10


class Picture(VideoStreamTrack):
    """Grey that grows lighter: small and slow enough for several encoders on a busy machine."""

    def __init__(self):
        super().__init__()
        self.number = 0

    async def recv(self):
        await asyncio.sleep(1 / FRAMES_PER_SECOND)
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([self.number % 256]) * plane.buffer_size)
        frame.pts = self.number * 90000 // FRAMES_PER_SECOND
        frame.time_base = fractions.Fraction(1, 90000)
        self.number += 1
        return frame


def ask(method, url, body=None):
    """Status, headers and text of one request."""
    headers = {"Content-Type": "application/sdp"} if body else {}
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


async def consume(track, report):
    name = "frames" if track.kind == "video" else "sounds"
    while True:
        await track.recv()
        report[name] += 1


async def main(role, url):
    peer = RTCPeerConnection()
    report = {"frames": 0, "sounds": 0, "state": "new", "received": 0, "lost": 0, "sent": 0, "location": None, "deleted": None}
    loop = asyncio.get_running_loop()
    start = loop.time()

    @peer.on("connectionstatechange")
    def changed():
        report["state"] = peer.connectionState
        if peer.connectionState == "connected":
            report.setdefault("connect_ms", int((loop.time() - start) * 1000))

    @peer.on("track")
    def track(track):
        asyncio.ensure_future(consume(track, report))

    if role == "publish":
        peer.addTrack(Picture())
        peer.addTrack(AudioStreamTrack())
    else:
        peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    start = loop.time()
    status, headers, answer = await asyncio.to_thread(ask, "POST", url, peer.localDescription.sdp.encode())
    if status != 201:
        sys.exit(f"POST {url}: {status} {answer}")
    report["location"] = urllib.parse.urljoin(url, headers["Location"])
    report["candidates"] = [line.strip() for line in answer.splitlines() if line.startswith("a=candidate:")]
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), 0.5)
        except asyncio.TimeoutError:
            pass
        await count(peer, report)
        print(json.dumps(report), flush=True)
    status, _, _ = await asyncio.to_thread(ask, "DELETE", report["location"])
    report["deleted"] = status
    await peer.close()
    print(json.dumps(report), flush=True)


async def count(peer, report):
    stats = (await peer.getStats()).values()
    inbound = [each for each in stats if each.type == "inbound-rtp"]
    report["received"] = sum(each.packetsReceived for each in inbound)
    report["lost"] = sum(each.packetsLost for each in inbound)
    report["sent"] = sum(each.packetsSent for each in stats if each.type == "outbound-rtp")


logging.basicConfig(level=logging.WARNING)
asyncio.run(main(sys.argv[1], sys.argv[2]))
