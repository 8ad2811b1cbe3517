from noiseprobe.cli.app import main

main()
